package bus

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Subjects. The first word says what a message is; the next is whose it is, which lets the bus keep everybody
// to their own: after `last`, which marks subjects that keep their last message, both move one word to the
// right.
//
//	submit.<author>.<region>                    Submit: items for the batch
//	ack.<verifier>.<author>                     Ack: what became of them
//	query.<asker>.<region>.<what>               PayersQuery, LineQuery, ProofQuery, RefusalsQuery, StateQuery, OrderQuery,
//	                                            OutputsQuery, DrawnQuery, PanelQuery; verifiers answer
//	keep.<asker>                                KeepQuery: what subjects below last hold; the keeper answers
//	find.<asker>                                Find: who has a blob; whoever has it answers
//	blob.<asker>.<holder>                       Chunk: a piece of it
//	request.<asker>.<device>                    Request: of one device, which answers
//	answer.<device>.<asker>.<any word>          Answer: to the request that expects it there
//	beat.<device>.<category>.<class>.<zone>     Beat: what is free of an ask
//	call.<verifier>.<category>                  Call: to the category's witnesses, and to gateways
//	tell.<teller>.<verifier>                    Tell: to the witnesses beside it
//	last.notice.<verifier>.<region>             Notice
//	last.ask.<device>.<category>.<class>.<zone> receipt.SignedAsk
//	last.receipt.<publisher>.<payer>.<session>  receipt.Signed
//	last.held.<verifier>.<region>               Inventory
//	last.handover.<verifier>.<region>           MissingItems
//	last.proposal.<verifier>.<region>           Proposal
//	last.signature.<verifier>.<region>          HeaderSignature
//
// A key is written as the multibase part of its did:key (z6Mk…), a zone as the cell of resolution 3 that holds
// the ask's, or 0 for an ask of no place. In a pattern, a zero key (or session, or class, or zone) is any.

// Last is the first word of subjects that keep their last message.
const Last = "last"

// Word writes a key as one word of a subject; the zero key as `*`, any.
func Word(k types.Key) string {
	if k.IsZero() {
		return "*"
	}
	return strings.TrimPrefix(k.String(), "did:key:")
}

// ParseWord reads what Word wrote.
func ParseWord(word string) (types.Key, error) { return types.ParseKey("did:key:" + word) }

func number[T ~uint16](n T) string { return strconv.FormatUint(uint64(n), 10) }

// orAny writes 0 as `*`.
func orAny[T ~uint16](n T) string {
	if n == 0 {
		return "*"
	}
	return number(n)
}

// SubmitSubject is where author hands in items for a region. Verifiers subscribe to it with the zero key.
func SubmitSubject(author types.Key, region types.Region) string {
	return "submit." + Word(author) + "." + number(region)
}

// AckSubject is where a verifier answers what author handed in. Authors subscribe to it with the zero verifier.
func AckSubject(verifier, author types.Key) string {
	return "ack." + Word(verifier) + "." + Word(author)
}

// The kinds of queries.
const (
	QueryPayers   = "payers"
	QueryLine     = "line"
	QueryProof    = "proof"
	QueryRefusals = "refusals"
	QueryState    = "state"
	QueryOrder    = "order"
	QueryOutputs  = "outputs"
	QueryDrawn    = "drawn"
	QueryPanel    = "panel"
)

// QuerySubject is where asker asks the verifiers of a region.
func QuerySubject(asker types.Key, region types.Region, what string) string {
	return "query." + Word(asker) + "." + number(region) + "." + what
}

// FindSubject is where asker asks who holds a blob.
func FindSubject(asker types.Key) string { return "find." + Word(asker) }

// ChunkSubject is where asker asks holder for a piece of a blob.
func ChunkSubject(asker, holder types.Key) string { return "blob." + Word(asker) + "." + Word(holder) }

// RequestSubject is where asker, who is logged on, asks a device. Devices subscribe to their own with the zero asker.
func RequestSubject(asker, device types.Key) string {
	return requestWord + "." + Word(asker) + "." + Word(device)
}

const (
	requestWord = "request"
	answerWord  = "answer"
)

// replySubject is where the answer to what is published under a subject is expected: in an inbox of the
// asker's, which verifiers may put something into, or, if a device is asked, under the device's own subject. No
// two serials of a connection are the same, and nobody else knows them.
func replySubject(subject, serial string) string {
	words := strings.Split(subject, ".")
	if len(words) == 3 && words[0] == requestWord {
		return answerWord + "." + words[2] + "." + words[1] + "." + serial
	}
	return inbox + "." + owner(subject) + "." + serial
}

// answersAhead is how many answers wait for whoever asked; further ones are dropped. A device is a stranger,
// and what it says may be long.
func answersAhead(subject string) int {
	if strings.HasPrefix(subject, requestWord+".") {
		return 64
	}
	return 1024
}

// Expects reports whether a request came to a device in such a way that its answer goes to who sent it: else
// somebody could have the device answer to others.
func Expects(m Message) bool {
	words := strings.Split(m.Subject, ".")
	return len(words) == 3 && words[0] == requestWord && validSubject(m.Reply) &&
		strings.HasPrefix(m.Reply, answerWord+"."+words[2]+"."+words[1]+".")
}

// ZoneResolution is the resolution of the cells by which asks are found. No zone is split between regions.
const ZoneResolution = types.RegionResolution

// AskSubject is where devices keep their asks of a class, in a zone.
func AskSubject(device types.Key, category types.Category, class types.Class, zone types.Cell) string {
	in := "*"
	if zone != 0 {
		in = zone.String()
	}
	return "last.ask." + Word(device) + "." + orAny(category) + "." + orAny(class) + "." + in
}

// AskOf is the subject of an ask.
func AskOf(a *receipt.Ask) string {
	zone := a.Cell.Parent(ZoneResolution)
	return "last.ask." + Word(a.Device) + "." + number(a.Category) + "." + number(a.Class) + "." + zone.String()
}

// ZoneOf returns the zone of an ask's subject.
func ZoneOf(subject string) (types.Cell, error) {
	return types.ParseCell(subject[strings.LastIndexByte(subject, '.')+1:])
}

// ParseAskSubject reads whose, and of what, an ask's subject is.
func ParseAskSubject(subject string) (device types.Key, category types.Category, class types.Class, err error) {
	words := strings.Split(subject, ".")
	if len(words) != 6 || words[0] != Last || words[1] != "ask" {
		return device, 0, 0, types.Refuse(types.BadEncoding, "bus: %.255q is no ask's subject", subject)
	}
	device, err = ParseWord(words[2])
	c, err2 := strconv.ParseUint(words[3], 10, 16)
	k, err3 := strconv.ParseUint(words[4], 10, 16)
	return device, types.Category(c), types.Class(k), errors.Join(err, err2, err3)
}

// ReceiptSubject is where publisher keeps the newest receipt of a payer's session. Devices subscribe to it with
// the zero publisher and session, for each payer of theirs.
func ReceiptSubject(publisher, payer types.Key, session types.SessionID) string {
	id := "*"
	if session != (types.SessionID{}) {
		id = session.String()
	}
	return "last.receipt." + Word(publisher) + "." + Word(payer) + "." + id
}

// ReceiptOf is the subject of a receipt.
func ReceiptOf(publisher types.Key, r *receipt.Receipt) string {
	return ReceiptSubject(publisher, r.Payer, r.Session)
}

// NoticeSubject is where a verifier keeps its newest notice.
func NoticeSubject(verifier types.Key, region types.Region) string {
	return "last.notice." + Word(verifier) + "." + number(region)
}

// InventorySubject is where a verifier that leads a round says which items it holds.
func InventorySubject(verifier types.Key, region types.Region) string {
	return "last.held." + Word(verifier) + "." + number(region)
}

// MissingSubject is where a verifier publishes what it acknowledged and the leader lacks.
func MissingSubject(verifier types.Key, region types.Region) string {
	return "last.handover." + Word(verifier) + "." + number(region)
}

// ProposalSubject is where a leader publishes its header.
func ProposalSubject(verifier types.Key, region types.Region) string {
	return "last.proposal." + Word(verifier) + "." + number(region)
}

// SignatureSubject is where a verifier publishes its signature of a header.
func SignatureSubject(verifier types.Key, region types.Region) string {
	return "last.signature." + Word(verifier) + "." + number(region)
}

// maxSubject bounds a subject, in bytes.
const maxSubject = 255

// validSubject reports whether s is words separated by dots, without wildcards.
func validSubject(s string) bool {
	if s == "" || len(s) > maxSubject {
		return false
	}
	for word := range strings.SplitSeq(s, ".") {
		if word == "" || strings.ContainsAny(word, "*> \t\r\n\x00") {
			return false
		}
	}
	return true
}

// validPattern reports whether p is a subject in which words may be `*` and the last one `>`.
func validPattern(p string) bool {
	words := strings.Split(p, ".")
	for i, word := range words {
		if word == "*" || word == ">" && i == len(words)-1 {
			words[i] = "_"
		}
	}
	return validSubject(strings.Join(words, "."))
}

// Match reports whether subject fits pattern.
func Match(pattern, subject string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		s, srest, smore := strings.Cut(subject, ".")
		switch {
		case p == ">" && !pmore:
			return true
		case p != "*" && p != s, pmore != smore:
			return false
		case !pmore:
			return true
		}
		pattern, subject = prest, srest
	}
}

// owner returns the word of subject that says whose it is.
func owner(subject string) string {
	first, rest, _ := strings.Cut(subject, ".")
	if first == Last {
		_, rest, _ = strings.Cut(rest, ".")
	}
	word, _, _ := strings.Cut(rest, ".")
	return word
}
