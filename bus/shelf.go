package bus

import "github.com/cairn-network/cairn/core/types"

// Shelf keeps the books of what one publisher keeps under `last`: it says what has to go. Who holds the messages themselves is
// the caller's affair, which also serializes calls.
type Shelf struct {
	entries map[string]entry // by subject
	bytes   int
	seq     uint64 // of the newest
}

type entry struct {
	seq  uint64
	size int
}

// Put records a message of size bytes under subject, in place of the one before, and returns the subjects whose messages have
// to go, the oldest first, so that the rest is within MaxKept and MaxKeptBytes.
func (s *Shelf) Put(subject string, size int) (gone []string) {
	if s.entries == nil {
		s.entries = map[string]entry{}
	}
	s.seq++
	s.bytes += size - s.entries[subject].size
	s.entries[subject] = entry{s.seq, size}
	for len(s.entries) > MaxKept || s.bytes > MaxKeptBytes {
		oldest := subject
		for other, e := range s.entries {
			if e.seq < s.entries[oldest].seq {
				oldest = other
			}
		}
		s.Drop(oldest)
		gone = append(gone, oldest)
	}
	return gone
}

// Drop forgets a subject.
func (s *Shelf) Drop(subject string) {
	s.bytes -= s.entries[subject].size
	delete(s.entries, subject)
}

// Len is how many subjects the shelf holds.
func (s *Shelf) Len() int { return len(s.entries) }

// Kept is one kept message, as a keeper sends it.
type Kept struct {
	_       struct{} `cbor:",toarray"`
	Subject string
	Data    []byte
}

// KeepQuery asks a keeper for the kept messages whose subjects fit Pattern and come after After. It is sent to KeepSubject.
type KeepQuery struct {
	_       struct{} `cbor:",toarray"`
	Pattern string
	After   string
}

// KeepPage is the answer: in ascending order of subjects, as many as fit one message. More says that some were left out.
type KeepPage struct {
	_    struct{} `cbor:",toarray"`
	Kept []Kept
	More bool
}

// KeepSubject is where asker asks a keeper. The zero key is any.
func KeepSubject(asker types.Key) string { return "keep." + Word(asker) }

// Owner returns the word of subject that says whose it is.
func Owner(subject string) string { return owner(subject) }

// ValidSubject reports whether s is a subject: words separated by dots, without wildcards, of at most 255 bytes.
func ValidSubject(s string) bool { return validSubject(s) }
