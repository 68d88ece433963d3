package explorer

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// quickCheck is the size up to which each look at an index reads all of it.
const quickCheck = 64 << 20

// CheckIndex reports what is wrong with an index file, of which nothing else may be open if it is to be read whole.
func CheckIndex(path string, whole bool) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 { // SQLite makes of an empty file what it needs
		return err
	}
	head := make([]byte, 16)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = f.Read(head)
	f.Close()
	if err != nil || string(head) != "SQLite format 3\x00" {
		return errors.New("it is no SQLite database")
	}
	if !whole && info.Size() > quickCheck {
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer db.Close()
	var said string
	if err := db.QueryRow(`PRAGMA quick_check(1)`).Scan(&said); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if said != "ok" {
		return errors.New(said)
	}
	return nil
}
