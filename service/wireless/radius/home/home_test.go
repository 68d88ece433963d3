package home

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// TestUsers: a file of users is read, and again when it is another; a line that is none is named, and the users of
// before stay.
func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		sum := sha256.Sum256([]byte("enginesalt"))
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * usersAgain)
		}
		write(fmt.Sprintf("# all\n\nada@x Cleartext-Password := \"engine\"\nbob@x\tSSHA2-256-Password := 0x%x%x\n", sum, "salt"))
		u, err := ReadUsers(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(user, password string, ok bool) {
			t.Helper()
			if err := u.Check(t.Context(), user, password); (err == nil) != ok || !ok && types.ReasonOf(err) != wireless.IdPRefused {
				t.Errorf("%s %q: %v, want %v", user, password, err, ok)
			}
		}
		check("ada@x", "engine", true)
		check("bob@x", "engine", true)
		check("bob@x", "enginesalt", false)
		check("ada@x", "", false)
		check("eve@x", "", false)
		for _, bad := range []string{"ada@x", "ada@x Cleartext-Password := engine", "ada@x Crypt-Password := \"x\"", "ada@x Cleartext-Password := \"\"", "ada@x SSHA2-256-Password := 0x00"} {
			write("ok@x Cleartext-Password := \"1\"\n" + bad + "\n")
			check("ada@x", "engine", true)
			if err := u.Err(); err == nil || !strings.Contains(err.Error(), "line 2") {
				t.Errorf("%q: %v", bad, err)
			}
		}
		write("carol@x Cleartext-Password := \"new and longer\"\n")
		check("carol@x", "new and longer", true)
		check("ada@x", "engine", false)
		if err := u.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestClass: a Class is taken from the device that it was given to, and no bit of it may be another.
func TestClass(t *testing.T) {
	key, a, b := []byte("key"), types.Key{1}, types.Key{1, 2, 3, 4, 5, 6, 7, 8, 9}
	c := class{a, [8]byte{5}, time.Unix(1e9, 0)}
	raw := c.seal(key)
	if got, ok := openClass(key, raw, a); !ok || got != c {
		t.Errorf("%+v %v", got, ok)
	}
	for _, other := range []types.Key{b, {}} {
		if _, ok := openClass(key, raw, other); ok {
			t.Errorf("taken from %v", other)
		}
	}
	for i := range raw {
		raw[i] ^= 1
		if _, ok := openClass(key, raw, a); ok {
			t.Errorf("taken with byte %d changed", i)
		}
		raw[i] ^= 1
	}
	if _, ok := openClass(key, nil, a); ok {
		t.Error("nothing is taken")
	}
}

// TestGuesses: places come back with time, and strangers' names do not fill the memory.
func TestGuesses(t *testing.T) {
	var g guesses
	now := time.Unix(1e9, 0)
	tries := 0
	for range 3600 { // an hour, one try a second
		if g.may("ada", guessUser, guessUserAgain, now) {
			g.wrong("ada", guessUserAgain, now)
			tries++
		}
		now = now.Add(time.Second)
	}
	if most := guessUser + int(time.Hour/guessUserAgain); tries > most+1 {
		t.Errorf("%d guesses in an hour, want at most %d", tries, most)
	}
	for i := range guessKept {
		g.wrong(fmt.Sprint(i), guessUserAgain, now)
	}
	if len(g.free) > guessKept+1 || g.may("new", guessUser, guessUserAgain, now) {
		t.Errorf("%d are remembered", len(g.free))
	}
	if now = now.Add(time.Hour); !g.may("new", guessUser, guessUserAgain, now) || len(g.free) != 0 {
		t.Errorf("after an hour %d are remembered", len(g.free))
	}
}
