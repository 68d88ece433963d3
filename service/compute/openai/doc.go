// Package openai is what a gateway and a device both say of a request to a language model in the shape of
// OpenAI's API: which requests there are, what may be in one, how an answer is read while it comes, and for how
// many tokens it may be charged at most.
//
//	Request  what a customer sends. It is checked in the same way at both ends, since the device believes no gateway
//	Answer   what comes back: its events, the usage that the server says, and the bound (Answer.Bound)
//
// Both ends count the same bytes, so both come to the same bound: the device asks for no more, and the gateway
// pays no more.
package openai
