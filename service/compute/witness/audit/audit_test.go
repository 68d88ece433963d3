package audit

import (
	"bytes"
	"testing"

	"github.com/cairn-network/cairn/service/compute"
)

var text = bytes.Repeat([]byte("words to count\n"), 1<<10)

// TestHonest: the first one of the drawn runs the job again and agrees; nobody else has to, and the device's
// quality rises.
func TestHonest(t *testing.T) {
	w := newWorld(t, 5, nil)
	w.everybody(Config{})
	w.run(text, "")
	w.due()
	if a := w.audits(1)[0]; !a.Agrees() {
		t.Fatalf("%+v", a)
	}
	members, _ := w.panel()
	if by := w.reports(compute.KindAudit)[0].Author; by != members[0].Key() {
		t.Errorf("the report is by %v, first was %v", by, members[0].Key())
	}
	w.Next()
	if s := w.line(); s.Passed != 1 || s.Quality != compute.FirstQuality+(compute.FullQuality-compute.FirstQuality)/16 || s.Faults != 0 {
		t.Errorf("%+v", s)
	}
	if r := w.refused(); len(r) != 0 {
		t.Errorf("%v", r)
	}
}
