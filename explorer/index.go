package explorer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // the driver

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// schemaVersion is raised whenever the tables change; an index of another version is dropped and built again.
const schemaVersion = 2

const tables = `
CREATE TABLE meta   (version INTEGER NOT NULL, chain TEXT NOT NULL);
CREATE TABLE tally  (region INTEGER, epoch INTEGER, status TEXT NOT NULL, digested INTEGER NOT NULL, header TEXT NOT NULL,
                     height INTEGER NOT NULL, round INTEGER NOT NULL, leader TEXT NOT NULL, counted INTEGER NOT NULL,
                     refused INTEGER NOT NULL, paid INTEGER NOT NULL, amount INTEGER NOT NULL, devices INTEGER NOT NULL,
                     PRIMARY KEY (region, epoch)) WITHOUT ROWID;
CREATE TABLE line   (device TEXT, category INTEGER, region INTEGER, epoch INTEGER, quality INTEGER NOT NULL,
                     amount INTEGER NOT NULL, paid INTEGER NOT NULL,
                     PRIMARY KEY (device, category, epoch)) WITHOUT ROWID;
CREATE TABLE refusal(device TEXT, region INTEGER, epoch INTEGER, reason TEXT, count INTEGER NOT NULL,
                     PRIMARY KEY (device, epoch, reason)) WITHOUT ROWID;
CREATE INDEX refusal_epoch ON refusal (epoch, region);
CREATE TABLE device (device TEXT PRIMARY KEY, owner TEXT NOT NULL, categories TEXT NOT NULL, cell TEXT NOT NULL,
                     status TEXT NOT NULL, bond INTEGER NOT NULL, claimed INTEGER NOT NULL, things INTEGER NOT NULL) WITHOUT ROWID;
`

// keep is how many epochs of lines and refusals the index holds, keepTallies how many of tallies; older ones
// are dropped.
const (
	keep        = 24 * 100
	keepTallies = 24 * 365
)

type index struct{ db *sql.DB }

func openIndex(path, chain string) (*index, error) {
	dsn := "file::memory:?cache=shared"
	if path != "" {
		dsn = "file:" + path + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous(NORMAL)"
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("explorer: open index %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	if path == "" {
		db.SetMaxOpenConns(1)
	}
	if err := prepare(db, chain); err != nil {
		db.Close()
		return nil, fmt.Errorf("explorer: prepare index %s: %w", path, err)
	}
	return &index{db}, nil
}

// prepare makes the tables, after dropping those of another version or another chain.
func prepare(db *sql.DB, chain string) error {
	var version int
	var of string
	err := db.QueryRow(`SELECT version, chain FROM meta`).Scan(&version, &of)
	if err == nil && version == schemaVersion && of == chain {
		return nil
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, t := range []string{"meta", "tally", "line", "refusal", "device"} {
		if _, err := tx.Exec(`DROP TABLE IF EXISTS ` + t); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(tables); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO meta VALUES (?, ?)`, schemaVersion, chain); err != nil {
		return err
	}
	return tx.Commit()
}

// status returns what is known of a tally: "" if nothing, and whether its digest is in.
func (ix *index) status(ctx context.Context, e types.Epoch, region types.Region) (s ledger.Status, digested bool, err error) {
	err = ix.db.QueryRowContext(ctx, `SELECT status, digested FROM tally WHERE region = ? AND epoch = ?`, region, e).Scan(&s, &digested)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return s, digested, err
}

// put indexes a header; decoded is nil where there is none, digest where it was not to be had.
func (ix *index) put(ctx context.Context, h *ledger.Header, decoded *tally.Header, digest *Digest) error {
	tx, err := ix.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if decoded == nil {
		decoded = new(tally.Header)
	}
	t := &decoded.Totals
	_, err = tx.ExecContext(ctx, `INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET status = excluded.status, digested = max(digested, excluded.digested), header = excluded.header,
		height = excluded.height, round = excluded.round, leader = excluded.leader, counted = excluded.counted,
		refused = excluded.refused, paid = excluded.paid, amount = excluded.amount, devices = excluded.devices`,
		h.Region, h.Epoch, h.Status, digest != nil, h.Hash.String(), h.Height, decoded.Round, decoded.Leader.String(),
		t.Counted, t.Refused, t.Spent, t.Amount, decoded.Count)
	if err != nil {
		return err
	}
	if h.Status == ledger.Voided {
		for _, table := range []string{"line", "refusal"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE region = ? AND epoch = ?`, h.Region, h.Epoch); err != nil {
				return err
			}
		}
	}
	if digest != nil {
		if err := putDigest(ctx, tx, h, digest); err != nil {
			return err
		}
	}
	if h.Epoch > keep {
		for _, table := range []string{"line", "refusal"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE epoch < ?`, h.Epoch-keep); err != nil {
				return err
			}
		}
	}
	if h.Epoch > keepTallies {
		if _, err := tx.ExecContext(ctx, `DELETE FROM tally WHERE epoch < ?`, h.Epoch-keepTallies); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func putDigest(ctx context.Context, tx *sql.Tx, h *ledger.Header, digest *Digest) error {
	line, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer line.Close()
	for _, l := range digest.Lines {
		if _, err := line.ExecContext(ctx, l.Device.String(), l.Category, h.Region, h.Epoch, l.Quality, l.Amount, l.Paid); err != nil {
			return err
		}
	}
	refusal, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO refusal VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer refusal.Close()
	for _, r := range digest.Refusals {
		if _, err := refusal.ExecContext(ctx, r.Device.String(), h.Region, h.Epoch, r.Reason, r.Count); err != nil {
			return err
		}
	}
	return nil
}

func (ix *index) putDevice(ctx context.Context, d *tally.Device, claimed types.Ustone, now types.Epoch) error {
	status := "active"
	if d.Suspended >= now {
		status = "suspended"
	}
	var categories string
	for i, c := range d.Categories {
		if i > 0 {
			categories += ","
		}
		categories += c.String()
	}
	_, err := ix.db.ExecContext(ctx, `INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		d.Key.String(), d.Owner.String(), categories, fmt.Sprintf("%x", uint64(d.Cell)), status, d.Bond, claimed, d.Fleet.Count)
	if err != nil {
		return fmt.Errorf("device %v: %w", d.Key, err)
	}
	return nil
}
