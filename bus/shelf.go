package bus

import (
	"container/list"

	"github.com/cairn-network/cairn/core/types"
)

// Shelves are the books of what is kept below `last`: they say what may be kept, and what has to go for it.
// Each key has a shelf, and each account one over all keys that it answers for (Pass.Account): a million keys
// of one account keep no more than one. The keys of each role share a part of the whole, which no other role
// can fill. Who holds the messages themselves is the caller's affair, which also serializes calls.
type Shelves struct {
	parts    map[Role]int64 // bytes; what is not there is without bound
	used     map[Role]int64
	lines    map[string]*line // by subject
	keys     map[string]*shelf
	accounts map[types.Account]*shelf
}

// line is one kept message.
type line struct {
	subject string
	size    int
	role    Role
	account types.Account // zero: none but the key itself
	onKey   *list.Element
	onAcct  *list.Element // nil without an account
}

// shelf is a list of *line, the oldest first.
type shelf struct {
	list  list.List
	bytes int
}

// NewShelves returns empty shelves. parts are the bytes that the keys of each role may fill together.
func NewShelves(parts map[Role]int64) *Shelves {
	return &Shelves{parts: parts, used: map[Role]int64{}, lines: map[string]*line{}, keys: map[string]*shelf{}, accounts: map[types.Account]*shelf{}}
}

// Put records a message of so many bytes of data under subject, in place of the one before, and returns the
// subjects whose messages have to go for it: the oldest of the same key, then the oldest of the same account. A
// message counts with its subject. It is refused with over_budget if the account has not funded so much,
// over_quota if the role never may, disk_full if others of the role fill its part.
func (s *Shelves) Put(subject string, size int, p Pass) (gone []string, refused types.Reason) {
	size += len(subject)
	if size > p.Own || p.shared() && size > p.Keep {
		if p.Role == RolePayer {
			return nil, types.OverBudget
		}
		return nil, types.OverQuota
	}
	key, account := s.keys[owner(subject)], s.accounts[p.Account] // which has no shelf if it is zero
	if part, ok := s.parts[p.Role]; ok {
		own := 0 // of this role, which could go
		for _, on := range []*shelf{key, account} {
			if on != nil {
				own = max(own, on.bytes)
			}
		}
		if s.used[p.Role]-int64(own)+int64(size) > part {
			return nil, types.DiskFull
		}
	}
	s.Drop(subject)
	for on, room := s.keys[owner(subject)], p.Own; on != nil && on.over(size, room); on = s.keys[owner(subject)] {
		gone = append(gone, s.dropOldest(on))
	}
	for on := s.accounts[p.Account]; on != nil && on.over(size, p.Keep); on = s.accounts[p.Account] {
		gone = append(gone, s.dropOldest(on))
	}
	for part, ok := s.parts[p.Role]; ok && s.used[p.Role]+int64(size) > part; {
		on := s.keys[owner(subject)]
		if on == nil {
			on = s.accounts[p.Account]
		}
		if on == nil {
			break // not reached: it was counted before
		}
		gone = append(gone, s.dropOldest(on))
	}
	s.add(subject, size, p.Role, p.Account)
	return gone, ""
}

// Load records a message that was kept before, the newest last. Nothing goes for it: the next Put of its key
// sees to that.
func (s *Shelves) Load(subject string, size int, role Role, account types.Account) {
	s.Drop(subject)
	s.add(subject, size+len(subject), role, account)
}

func (s *Shelves) add(subject string, size int, role Role, account types.Account) {
	l := &line{subject: subject, size: size, role: role, account: account}
	key := s.keys[owner(subject)]
	if key == nil {
		key = new(shelf)
		s.keys[owner(subject)] = key
	}
	l.onKey = key.push(l)
	if account != (types.Account{}) {
		if s.accounts[account] == nil {
			s.accounts[account] = new(shelf)
		}
		l.onAcct = s.accounts[account].push(l)
	}
	s.lines[subject] = l
	s.used[role] += int64(size)
}

// Drop forgets a subject.
func (s *Shelves) Drop(subject string) {
	l := s.lines[subject]
	if l == nil {
		return
	}
	delete(s.lines, subject)
	s.used[l.role] -= int64(l.size)
	if key := s.keys[owner(subject)]; key.remove(l.onKey) == 0 {
		delete(s.keys, owner(subject))
	}
	if l.onAcct != nil {
		if s.accounts[l.account].remove(l.onAcct) == 0 {
			delete(s.accounts, l.account)
		}
	}
}

func (s *Shelves) dropOldest(on *shelf) string {
	subject := on.list.Front().Value.(*line).subject
	s.Drop(subject)
	return subject
}

// Used is how many bytes the keys of a role keep.
func (s *Shelves) Used(role Role) int64 { return s.used[role] }

// Of lists the words of the keys of a role that keep something.
func (s *Shelves) Of(role Role) (words []string) {
	for word, on := range s.keys {
		if on.list.Front().Value.(*line).role == role {
			words = append(words, word)
		}
	}
	return words
}

// Clear forgets all of a key and returns its subjects.
func (s *Shelves) Clear(word string) (gone []string) {
	for on := s.keys[word]; on != nil; on = s.keys[word] {
		gone = append(gone, s.dropOldest(on))
	}
	return gone
}

func (s *shelf) push(l *line) *list.Element {
	s.bytes += l.size
	return s.list.PushBack(l)
}

// remove returns how many are left.
func (s *shelf) remove(e *list.Element) int {
	s.bytes -= e.Value.(*line).size
	s.list.Remove(e)
	return s.list.Len()
}

// over reports whether a further message of size bytes has no place on the shelf.
func (s *shelf) over(size, room int) bool { return s.list.Len() >= MaxKept || s.bytes+size > room }

// Kept is one kept message, as a keeper sends it.
type Kept struct {
	_       struct{} `cbor:",toarray"`
	Subject string
	Data    []byte
}

// KeepQuery asks a keeper for the kept messages whose subjects fit Pattern and come after After. It is sent to
// KeepSubject.
type KeepQuery struct {
	_       struct{} `cbor:",toarray"`
	Pattern string
	After   string
}

// KeepPage is the answer: in ascending order (KeepOrder.Less), as many as fit one message. More says that some
// were left out. A query that is refused is answered by the reason alone, as text.
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
