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
//
// # Wire
//
// Server is the device's end and Client the customer's: HTTP/2 over TLS 1.3 with the keys of both sides. The first stream
// is a POST whose body and answer are the control stream: frames [length u16 ‖ bytes], up an Open, then receipts and
// beats; down a State to each, with both counts and what is refused. Each further stream is a CONNECT (RFC 9113 §8.5).
// Names travel as they are: the device looks them up. What breaks off is reset and never looks like an end. When a
// destination ends its direction, the other one ends too. The tunnel lives as long as its control stream.
//
// Client.Serve is SOCKS5 and HTTP CONNECT for programs beside the customer. Of SOCKS5 there is CONNECT without a
// password, and no UDP.
//
// MaxStreams, Idle, Stall and Patience bound each tunnel; whoever listens bounds the tunnels.
package tunnel
