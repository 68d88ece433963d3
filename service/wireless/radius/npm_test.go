package radius

import (
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc5580"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

// TestNode: npm's radius decodes what is sent, takes replies as signed, and what it signs is taken here.
func TestNode(t *testing.T) {
	const dir = "testdata/radius"
	node := testutil.Node(t, dir)
	login := radius.New(radius.CodeAccessRequest, []byte(lan))
	_ = rfc2865.UserName_SetString(login, "ada@example.org")
	_ = rfc2865.UserPassword_SetString(login, "engine")
	_ = rfc5580.OperatorName_SetString(login, "1did:key:z6Mk")
	SetAsk(login, types.Hash{1})
	account := radius.New(radius.CodeAccountingRequest, []byte(lan))
	_ = rfc2866.AcctStatusType_Set(account, rfc2866.AcctStatusType_Value_Stop)
	_ = rfc2866.AcctSessionID_SetString(account, "s1")
	_ = rfc2869.AcctInputGigawords_Set(account, 5)
	type pair struct {
		Secret  string `json:"secret"`
		Request string `json:"request"`
		Reply   string `json:"reply"`
	}
	var pairs []pair
	for _, p := range []*Packet{login, account} {
		raw, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		reply := p.Response(radius.CodeAccessAccept)
		if p == account {
			reply = p.Response(radius.CodeAccountingResponse)
			_ = SetReceipt(reply, make([]byte, 512))
		} else {
			_ = rfc2865.Class_Set(reply, []byte("class"))
			_ = rfc2869.AcctInterimInterval_Set(reply, Interim)
			_ = AddKeys(reply, make([]byte, 64))
		}
		answer, err := EncodeReply(reply)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair{lan, hex.EncodeToString(raw), hex.EncodeToString(answer)})
	}
	in, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(node, "check.js")
	c.Dir, c.Stdin = dir, strings.NewReader(string(in))
	raw, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	type side struct {
		Code       string
		Attributes map[string]any
		First      any
	}
	var got []struct {
		Request, Reply side
		Signed         bool
		Own            string
	}
	if err := json.Unmarshal(raw, &got); err != nil || len(got) != 2 {
		t.Fatalf("%v: %s", err, raw)
	}
	a, b := got[0], got[1]
	if a.Request.Code != "Access-Request" || a.Request.Attributes["User-Name"] != "ada@example.org" || a.Request.Attributes["User-Password"] != "engine" ||
		a.Reply.Code != "Access-Accept" || a.Reply.Attributes["Acct-Interim-Interval"] != float64(Interim) || !a.Signed {
		t.Errorf("login: %+v", a)
	}
	for _, s := range []side{a.Request, a.Reply} {
		if s.First != float64(rfc2869.MessageAuthenticator_Type) {
			t.Errorf("%s begins with attribute %v", s.Code, s.First)
		}
	}
	if b.Request.Code != "Accounting-Request" || b.Request.Attributes["Acct-Status-Type"] != "Stop" || b.Request.Attributes["Acct-Input-Gigawords"] != float64(5) ||
		b.Reply.Code != "Accounting-Response" || !b.Signed {
		t.Errorf("accounting: %+v", b)
	}
	own, err := hex.DecodeString(a.Own)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Parse(own, []byte(lan)); err != nil || rfc2865.UserPassword_GetString(p) != "engine" {
		t.Errorf("npm's own: %v %v", p, err)
	}
}
