// Package archive keeps the messages that a client has seen in a file, where
// they can be read by seq and found by what they say. It is a SQLite database
// with a full-text index.
//
// An Archive is apart from the client: feed it from the callbacks, which come in
// order, and it holds what the application was told.
//
//	handler.OnMessage = func(m godwit.Message) { err = a.Put(ctx, m) }
//	handler.OnMessageChanged = func(c godwit.MessageChange) { err = a.Change(ctx, c) }
package archive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// Archive is an open archive. Its methods may be called from any goroutine;
// writes wait for one another, and a write that has returned survives a crash of
// the process.
type Archive struct{ db *sql.DB }

// schema is version 1. The text of a message is kept twice, in its row and in
// the index's own copy, so that a hit's snippet costs no second look.
//
// The trigram tokenizer finds any part of a word in any language, those that
// write without spaces too.
const schema = `
CREATE TABLE message (
	id           INTEGER PRIMARY KEY,
	conversation TEXT    NOT NULL,
	seq          INTEGER NOT NULL,
	version      INTEGER NOT NULL,
	sender       TEXT    NOT NULL,
	time_ms      INTEGER NOT NULL,
	data         BLOB    NOT NULL,
	UNIQUE (conversation, seq)
);
CREATE VIRTUAL TABLE text USING fts5(body, tokenize = 'trigram');
PRAGMA user_version = 1;
`

// ErrFormat is the error for a file that is no archive of a version that this
// package knows.
var ErrFormat = errors.New("archive: unknown format")

// Open opens the archive in the file at path, or makes it.
func Open(ctx context.Context, path string) (*Archive, error) {
	// One connection: SQLite takes one writer at a time, and waiting in Go ends
	// with a context.
	dsn := (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(5000)"},
	}.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("archive: %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	a := &Archive{db: db}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("archive: %s: %w", path, err), db.Close())
	}
	return a, nil
}

func (a *Archive) prepare(ctx context.Context) error {
	return a.write(ctx, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		switch version {
		case 0:
			_, err := tx.ExecContext(ctx, schema)
			return err
		case 1:
			return nil
		}
		return fmt.Errorf("%w: version %d", ErrFormat, version)
	})
}

// Close closes the archive.
func (a *Archive) Close() error { return a.db.Close() }

// write runs f in a transaction.
func (a *Archive) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Put keeps messages, all of them or, after an error, none. One that is there
// already is replaced, unless what is there has a higher version: so it matters
// little in which order the states of an edited message arrive.
func (a *Archive) Put(ctx context.Context, messages ...godwit.Message) error {
	err := a.write(ctx, func(tx *sql.Tx) error {
		for i := range messages {
			if err := put(ctx, tx, &messages[i]); err != nil {
				return fmt.Errorf("%s seq %d: %w", messages[i].Conversation, messages[i].Seq, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("archive: put: %w", err)
	}
	return nil
}

// Change changes a message as c says, where there is such a message and c isn't
// in it yet. A tombstone is found by no search any more.
func (a *Archive) Change(ctx context.Context, c godwit.MessageChange) error {
	err := a.write(ctx, func(tx *sql.Tx) error {
		var data []byte
		err := tx.QueryRowContext(ctx, "SELECT data FROM message WHERE conversation = ? AND seq = ?", c.Conversation, c.Seq).Scan(&data)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := decode(data)
		if err != nil || !m.Apply(c) {
			return err
		}
		return put(ctx, tx, &m)
	})
	if err != nil {
		return fmt.Errorf("archive: change: %w", err)
	}
	return nil
}

func put(ctx context.Context, tx *sql.Tx, m *godwit.Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var id int64
	err = tx.QueryRowContext(ctx, `
		INSERT INTO message (conversation, seq, version, sender, time_ms, data) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (conversation, seq) DO UPDATE
			SET version = excluded.version, sender = excluded.sender, time_ms = excluded.time_ms, data = excluded.data
			WHERE excluded.version >= version
		RETURNING id`,
		m.Conversation, m.Seq, m.Version, m.Sender, m.Time.UnixMilli(), data).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // what is there is newer
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM text WHERE rowid = ?", id); err != nil {
		return err
	}
	if text := searchable(m); text != "" {
		_, err = tx.ExecContext(ctx, "INSERT INTO text (rowid, body) VALUES (?, ?)", id, text)
	}
	return err
}

// searchable is what a message says.
func searchable(m *godwit.Message) string {
	if m.Kind != godwit.KindText || !utf8.Valid(m.Body) {
		return ""
	}
	return m.Text()
}

// Remove forgets single messages of a conversation.
func (a *Archive) Remove(ctx context.Context, conversation string, seqs ...uint64) error {
	return a.remove(ctx, func(forget func(where string, args ...any) error) error {
		for _, seq := range seqs {
			if err := forget("conversation = ? AND seq = ?", conversation, seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// Clear forgets a conversation's messages up to a seq, inclusive.
func (a *Archive) Clear(ctx context.Context, conversation string, upTo uint64) error {
	return a.remove(ctx, func(forget func(where string, args ...any) error) error {
		return forget("conversation = ? AND seq <= ?", conversation, upTo)
	})
}

func (a *Archive) remove(ctx context.Context, f func(forget func(where string, args ...any) error) error) error {
	err := a.write(ctx, func(tx *sql.Tx) error {
		return f(func(where string, args ...any) error {
			if _, err := tx.ExecContext(ctx, "DELETE FROM text WHERE rowid IN (SELECT id FROM message WHERE "+where+")", args...); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM message WHERE "+where, args...)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("archive: remove: %w", err)
	}
	return nil
}

// Range returns the messages of a conversation from seq from to seq to, both
// inclusive, at most limit of them, in seq order: the oldest of them, or with
// newest the newest.
func (a *Archive) Range(ctx context.Context, conversation string, from, to uint64, limit int, newest bool) ([]godwit.Message, error) {
	order := "ASC"
	if newest {
		order = "DESC"
	}
	const largest = 1<<63 - 1
	rows, err := a.db.QueryContext(ctx, `
		SELECT data FROM (
			SELECT seq, data FROM message WHERE conversation = ? AND seq BETWEEN ? AND ? ORDER BY seq `+order+` LIMIT ?
		) ORDER BY seq`,
		conversation, min(from, largest), min(to, largest), limit)
	if err != nil {
		return nil, fmt.Errorf("archive: range: %w", err)
	}
	var all []godwit.Message
	err = each(rows, func() error {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			return err
		}
		m, err := decode(data)
		all = append(all, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("archive: range: %w", err)
	}
	return all, nil
}

// each calls f for every row, until it fails, and closes them.
func each(rows *sql.Rows, f func() error) error {
	var err error
	for err == nil && rows.Next() {
		err = f()
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

func decode(data []byte) (m godwit.Message, err error) {
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("a damaged row: %w", err)
	}
	return m, nil
}

// Query says what to look for. Fields with their zero value don't matter.
type Query struct {
	// Text is what the message contains, in any case; words are looked for one
	// by one, and all must be there. Required.
	Text         string
	Conversation string
	Sender       string
	Since, Until time.Time // both inclusive
	Limit        int       // 0 = 50
	Skip         int       // how many of the newest hits are left out: those of the pages before
}

// Hit is a message that was found.
type Hit struct {
	Message godwit.Message
	// Snippet is the part of the text around the first find, with Start and End
	// around each find. Where a word of Text has fewer than three letters it is
	// the text's beginning, unmarked.
	Snippet string
}

// Start and End enclose a find in a snippet. They are control characters, which
// an application replaces by its own marks.
const (
	Start = "\x02"
	End   = "\x03"
)

// shortest is the shortest word that the index knows, in characters.
const shortest = 3

// Search returns the messages that fit q, the newest first.
func (a *Archive) Search(ctx context.Context, q Query) ([]Hit, error) {
	words := strings.Fields(q.Text)
	if len(words) == 0 {
		return nil, errors.New("archive: search: Query.Text is empty")
	}
	if q.Limit == 0 {
		q.Limit = 50
	}
	statement, args := q.statement(words)
	rows, err := a.db.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("archive: search: %w", err)
	}
	var hits []Hit
	err = each(rows, func() error {
		var data []byte
		var hit Hit
		if err := rows.Scan(&data, &hit.Snippet); err != nil {
			return err
		}
		var err error
		hit.Message, err = decode(data)
		hits = append(hits, hit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("archive: search: %w", err)
	}
	return hits, nil
}

// statement looks for long words in the index and for short ones in what that
// leaves.
func (q Query) statement(words []string) (string, []any) {
	var match []string
	var where []string
	var args []any
	for _, word := range words {
		if utf8.RuneCountInString(word) >= shortest {
			match = append(match, `"`+strings.ReplaceAll(word, `"`, `""`)+`"`)
		} else {
			where = append(where, `text.body LIKE ? ESCAPE '\'`)
			args = append(args, "%"+strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(word)+"%")
		}
	}
	snippet := "substr(text.body, 1, 64)"
	if len(where) == 0 {
		snippet = "snippet(text, 0, '" + Start + "', '" + End + "', '…', 32)"
	}
	if len(match) > 0 {
		where = append(where, "text MATCH ?")
		args = append(args, strings.Join(match, " AND "))
	}
	also := func(condition string, arg any) {
		where = append(where, condition)
		args = append(args, arg)
	}
	if q.Conversation != "" {
		also("message.conversation = ?", q.Conversation)
	}
	if q.Sender != "" {
		also("message.sender = ?", q.Sender)
	}
	if !q.Since.IsZero() {
		also("message.time_ms >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		also("message.time_ms <= ?", q.Until.UnixMilli())
	}
	args = append(args, q.Limit, q.Skip)
	return "SELECT message.data, " + snippet + " FROM text JOIN message ON message.id = text.rowid WHERE " +
		strings.Join(where, " AND ") + " ORDER BY message.time_ms DESC, message.id DESC LIMIT ? OFFSET ?", args
}
