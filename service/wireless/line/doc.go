// Package line is the bandwidth check (package pob) on UDP sockets: challengers that send, and a device that receives and
// replies. Both ends of one test:
//
//	device → challenger   hello    {token, test}, filled up to 1,200 bytes
//	challenger → device   nonce    {token, cookie}
//	device → challenger   consent  {token, test, cookie, signature}
//	challenger → device   ready    {token}
//	challenger → device   data     {token, number, tag, filler}: pob.Payload bytes, at a steady rate, from t0 on
//	device → challenger   part     {token, index, count, piece of the reply}, again until it is acknowledged
//	challenger → device   ack      {token, index}
//
// Each begins with a byte that says which it is, and the token: 16 bytes that the device drew for this challenger.
//
// # Consent
//
// A challenger sends to nobody who did not ask for it. The device dials from one UDP port, which passes address
// translation. The cookie, which follows from the address that the hello came from, shows that whoever signs gets what
// is sent there; the signature, over test, challenger, token and cookie, that it is the device. Until then a challenger
// keeps nothing of it, looks at few signatures of a test, and sends less than it was sent: a twentieth of a hello. So it
// can be aimed at nobody, and is no amplifier. Consent is for one test, which lasts some seconds.
//
// Tokens are known to the two ends alone, and to who is on the way between them: nobody else can put packets of wrong tags
// between the right ones, or answer in the device's place. The reply itself is signed.
//
// # Time
//
// A challenger sends and takes replies by its own clock. The device needs no clock that is right: it counts from the first
// packet of a test, and replies as late as the way back allows.
//
// # Bounds
//
// A Challenger takes part in as many tests at a time as its uplink carries, and a Receiver in maxJoins. Packets that are
// not of a running test are thrown away.
package line
