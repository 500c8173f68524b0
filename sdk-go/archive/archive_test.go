package archive_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/archive"
)

func open(t testing.TB, path string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

var epoch = time.UnixMilli(1_790_000_000_000)

func text(conversation string, seq uint64, sender, body string) godwit.Message {
	return godwit.Message{
		Conversation: conversation, Seq: seq, ID: 100 + seq, Sender: sender, ClientID: fmt.Sprint("c", seq),
		Time: epoch.Add(time.Duration(seq) * time.Minute), Kind: godwit.KindText, Body: []byte(body),
	}
}

func put(t testing.TB, a *archive.Archive, messages ...godwit.Message) {
	t.Helper()
	if err := a.Put(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

// found returns "conversation/seq" of the hits.
func found(t testing.TB, a *archive.Archive, q archive.Query) (all []string) {
	t.Helper()
	hits, err := a.Search(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%s/%d", h.Message.Conversation, h.Message.Seq))
	}
	return all
}

func TestSearch(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "messages with a space.db"))
	custom := text("d:ann:bob", 7, "ann", "the ferry in a custom message")
	custom.Kind = godwit.KindCustom
	put(t, a,
		text("d:ann:bob", 1, "ann", "The ferry leaves at nine"),
		text("d:ann:bob", 2, "bob", "which ferryman? 100% sure"),
		text("g:ann:team", 3, "eve", "FERRY tickets are in the drawer"),
		text("g:ann:team", 4, "bob", "我们明天坐渡轮去"),
		text("g:ann:team", 5, "bob", `a "quoted" word_with an under_score`),
		text("d:ann:bob", 6, "bob", ""),
		custom,
	)
	for _, test := range []struct {
		q    archive.Query
		want string
	}{
		{archive.Query{Text: "ferry"}, "g:ann:team/3 d:ann:bob/2 d:ann:bob/1"},
		{archive.Query{Text: "ferry", Conversation: "d:ann:bob"}, "d:ann:bob/2 d:ann:bob/1"},
		{archive.Query{Text: "ferry", Sender: "eve"}, "g:ann:team/3"},
		{archive.Query{Text: "ferry", Since: epoch.Add(2 * time.Minute), Until: epoch.Add(2 * time.Minute)}, "d:ann:bob/2"},
		{archive.Query{Text: "ferry", Limit: 1, Skip: 1}, "d:ann:bob/2"},
		{archive.Query{Text: "leaves ferry"}, "d:ann:bob/1"},
		{archive.Query{Text: "leaves drawer"}, ""},
		{archive.Query{Text: "erry"}, "g:ann:team/3 d:ann:bob/2 d:ann:bob/1"},
		{archive.Query{Text: "渡轮"}, "g:ann:team/4"},
		{archive.Query{Text: "坐渡轮"}, "g:ann:team/4"},
		{archive.Query{Text: "at ferry"}, "d:ann:bob/1"},
		{archive.Query{Text: "0%"}, "d:ann:bob/2"},
		{archive.Query{Text: "%"}, "d:ann:bob/2"},
		{archive.Query{Text: "_s"}, "g:ann:team/5"},
		{archive.Query{Text: `"quoted"`}, "g:ann:team/5"},
		{archive.Query{Text: `AND OR NOT`}, ""},
		{archive.Query{Text: "custom"}, ""},
	} {
		if got := strings.Join(found(t, a, test.q), " "); got != test.want {
			t.Errorf("%+v: found %q, want %q", test.q, got, test.want)
		}
	}
	if _, err := a.Search(t.Context(), archive.Query{Text: "  "}); err == nil {
		t.Error("looked for nothing")
	}
	hits, err := a.Search(t.Context(), archive.Query{Text: "drawer"})
	if err != nil || len(hits) != 1 || !strings.Contains(hits[0].Snippet, archive.Start+"drawer"+archive.End) {
		t.Errorf("%+v, %v", hits, err)
	}
}

func TestRangeAndChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	a := open(t, path)
	var all []godwit.Message
	for seq := range uint64(20) {
		all = append(all, text("g:ann:team", seq+1, "ann", fmt.Sprintf("number %03d", seq+1)))
	}
	put(t, a, all...)
	put(t, a, text("g:ann:other", 1, "ann", "number 001"))
	seqs := func(from, to uint64, limit int, newest bool) (seqs []uint64) {
		t.Helper()
		got, err := a.Range(t.Context(), "g:ann:team", from, to, limit, newest)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got {
			seqs = append(seqs, m.Seq)
		}
		return seqs
	}
	if got := seqs(3, 1<<64-1, 2, false); !slices.Equal(got, []uint64{3, 4}) {
		t.Error(got)
	}
	if got := seqs(3, 18, 2, true); !slices.Equal(got, []uint64{17, 18}) {
		t.Error(got)
	}

	// An edit replaces, an older state does not.
	edited := text("g:ann:team", 5, "ann", "an edited text")
	edited.Version = 21
	put(t, a, edited)
	put(t, a, all[4])
	got, err := a.Range(t.Context(), "g:ann:team", 5, 5, 1, false)
	if err != nil || len(got) != 1 || got[0].Text() != "an edited text" || !got[0].Time.Equal(edited.Time) || got[0].ClientID != "c5" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got := found(t, a, archive.Query{Text: "005"}); len(got) > 0 {
		t.Errorf("found by what it said before: %v", got)
	}
	if got := found(t, a, archive.Query{Text: "edited"}); len(got) != 1 {
		t.Error(got)
	}

	if err := a.Remove(t.Context(), "g:ann:team", 7, 99); err != nil {
		t.Fatal(err)
	}
	if err := a.Clear(t.Context(), "g:ann:team", 4); err != nil {
		t.Fatal(err)
	}
	if got := seqs(0, 9, 100, false); !slices.Equal(got, []uint64{5, 6, 8, 9}) {
		t.Error(got)
	}
	if got := found(t, a, archive.Query{Text: "number 00"}); !slices.Equal(got, []string{"g:ann:team/9", "g:ann:team/8", "g:ann:team/6", "g:ann:other/1"}) {
		t.Error(got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, path)
	if got := seqs(0, 9, 100, false); !slices.Equal(got, []uint64{5, 6, 8, 9}) {
		t.Errorf("after it was opened again: %v", got)
	}
}

func TestForeignFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.db")
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.Exec("PRAGMA user_version = 7")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Open(t.Context(), path); !errors.Is(err, archive.ErrFormat) {
		t.Error(err)
	}
	if _, err := archive.Open(t.Context(), filepath.Join(t.TempDir(), "no", "such", "directory")); err == nil {
		t.Error("opened a file in a directory that does not exist")
	}
}

func TestChange(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "c.db"))
	put(t, a, text("d:ann:bob", 1, "ann", "the first wording"), text("d:ann:bob", 2, "ann", "something to regret"))
	event := func(seq, target uint64, kind godwit.Kind, body string) {
		t.Helper()
		m := text("d:ann:bob", seq, "ann", body)
		m.Kind, m.Target = kind, target
		if err := a.Change(t.Context(), m.Change()); err != nil {
			t.Fatal(err)
		}
	}
	event(3, 1, godwit.KindEdit, "the second wording")
	event(4, 2, godwit.KindRecall, "")
	event(5, 99, godwit.KindRecall, "")
	event(6, 1, godwit.KindReaction, "+1")
	for word, want := range map[string]int{"first": 0, "second": 1, "regret": 0, "wording": 1} {
		if got := found(t, a, archive.Query{Text: word}); len(got) != want {
			t.Errorf("%s: found %v, want %d", word, got, want)
		}
	}
	got, err := a.Range(t.Context(), "d:ann:bob", 1, 10, 10, false)
	if err != nil || len(got) != 2 || got[0].Version != 6 || len(got[0].Reactions) != 1 || got[1].State != godwit.MessageRecalled {
		t.Errorf("%+v, %v", got, err)
	}
	event(3, 1, godwit.KindEdit, "the second wording, once more") // it is in there
	if got := found(t, a, archive.Query{Text: "more"}); len(got) > 0 {
		t.Error("an event was applied twice")
	}
}
