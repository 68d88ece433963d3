package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestReadList: a file of things reads as people write it, and each line that is none is named by its number.
func TestReadList(t *testing.T) {
	key := func(n int) string { return private(uint64(n)).Public().String() }
	list, err := ReadList(strings.NewReader("# the hall\n" + key(1) + "\n\n  " + key(2) + " 00fF\t\r\n" + key(3)))
	if err != nil || len(list) != 3 || list[0].Attributes != nil || string(list[1].Attributes) != "\x00\xff" || list[2].Key != private(3).Public() {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err := ReadList(strings.NewReader("\n# none\n")); err != nil || len(list) != 0 {
		t.Fatalf("a file without things: %v, %v", list, err)
	}
	many := strings.Repeat("x\n", 20)
	for _, c := range []struct {
		file string
		want types.Reason
		says []string
	}{
		{key(1) + "\nnobody\n" + key(2) + " zz\n" + key(1) + "\n" + key(3) + " 00 00\n", types.BadArgument,
			[]string{`line 2: "nobody" is no key`, `line 3: attributes "zz"`, "line 4: the key of line 1 again", "line 5: 3 words"}},
		{key(1) + " " + strings.Repeat("00", MaxAttributes+1), types.BadArgument, []string{"line 1: attributes"}},
		{key(1) + "\n" + strings.Repeat("x", 2000), types.BadArgument, []string{"line 2 is longer"}},
		{many, types.BadArgument, []string{"line 8: ", "and 12 more"}},
		{"cairn1qqqq", types.BadArgument, []string{"want did:key"}},
	} {
		_, err := ReadList(strings.NewReader(c.file))
		if types.ReasonOf(err) != c.want {
			t.Errorf("%.40q: %v, want %s", c.file, err, c.want)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%.40q: %q does not say %q", c.file, err, s)
			}
		}
	}
}

// endless is a file of things without an end.
type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	var key types.Key
	copy(key[:], fmt.Sprint(e.n))
	e.n++
	return copy(b, key.String()+"\n"), nil
}

// TestEndlessList: a file with more things than a fleet takes is refused at the first that is too many.
func TestEndlessList(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a million lines")
	}
	e := &endless{}
	if _, err := ReadList(e); types.ReasonOf(err) != types.Oversize || e.n > MaxCount+2 {
		t.Fatalf("after %d things: %v", e.n, err)
	}
}
