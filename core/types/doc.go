// Package types holds the words that every part of Cairn shares: keys, accounts, amounts, units, epochs,
// categories, cells, coded reasons, and the one byte encoding that things are signed in.
//
// It is pure: no input or output, no clock, no goroutine, no float. What it decodes is canonical or refused, so
// that two programs which accept the same bytes mean the same thing by them.
package types
