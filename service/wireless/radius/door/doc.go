// Package door is the RADIUS door of a device: access points of its site speak RADIUS to it, it finds the gateway of
// each user's realm and passes logins and accounting on over RadSec, and receipts come back with the answers to accounting.
//
// It keeps two counts of each payer: what the access points counted, and what the payer signed for. When more than W
// is unpaid, users of that payer are disconnected (RFC 5176) and no new ones are let in.
//
// While a gateway cannot be reached, access points are answered all the same, and what they said last of each session
// is kept on disk and told to the gateway later: sessions go on up to W. As counters are totals, that is all there
// is to keep.
package door
