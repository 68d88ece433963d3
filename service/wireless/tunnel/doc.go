// Package tunnel is what a device that sells egress, and its customer, hold each other to.
//
// # Exits
//
// Policy says where a device connects for strangers. It judges the address that is dialled, after names were looked
// up, so that no name hides one and none can change between the judgement and the connection.
//
// # Bytes
//
// Payer is what a device counts of one account: bytes relayed, bytes signed for, and W, what may be unpaid. A byte is
// counted before it is relayed, so nobody gets more than W for nothing. Bill is the customer's side: what it counted
// itself is the most that it signs for.
package tunnel
