// Package radius is RADIUS as an access point, a device and an identity provider's gateway speak it: over UDP in
// the site's own network, and over TLS (RadSec, RFC 6614) between device and gateway. The codec and the dictionaries
// are layeh.com/radius; here is what it lacks.
//
// # Packets
//
// Parse takes a request only if it is signed: an Access-Request needs a Message-Authenticator
// (wireless.radius_unsigned), which with the shared secret must be right (wireless.radius_secret). ParseReply asks
// the same of replies to one. Encode and EncodeReply put it first. So nobody between the two can turn a refusal into
// an acceptance by a collision of MD5 (CVE-2024-3596).
//
// # Transports
//
// Server answers over UDP: a packet that comes again gets the same answer again (RFC 5080 §2.2.2). Secure answers
// over TLS, Client asks over it, and Exchange asks over UDP. All of them have bounds, and count what they drop.
//
// # Accounting
//
// Table keeps, for each session of a user, the most that was counted in each direction. So a packet that comes
// twice, late or never changes nothing that a later one does not mend, and counters that fall take nothing back.
//
// # Hops
//
// Onward and Back make the packet of the next hop: secrets differ from hop to hop, so passwords and keys are opened
// and sealed again, and of the rest only what has business there goes on. A stranger's gateway cannot put a user into
// a network of the site's, or make somebody an administrator of the access point.
package radius
