//go:build !race

package crash

// The mutants are about the server's logic: the race detector would only slow
// the search down.

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/bench/node"
)

// maxRuns is how often a mutant is run before it counts as one that survives. Nearly
// every one is caught by the first run, but a run is random.
const maxRuns = 10

// TestMutants runs servers with a defect each: a harness that lets one pass
// proves nothing.
func TestMutants(t *testing.T) {
	tests := []struct {
		name, file, old, new string
		want                 []journal.Kind // one of them is enough
		rounds               int            // where one in which it shows is not rare; else 6
	}{
		{
			name: "ack before commit", file: "chat/embedded.go",
			old: `	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	sink.Deliver(outcomes)
	return nil
`,
			new: `	sink.Deliver(outcomes)
	<-time.After(10 * time.Millisecond) // the acks get away, and the kill mostly comes meanwhile
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
`,
			want: []journal.Kind{journal.Lost, journal.Forked, journal.Doubled, journal.Undone, journal.Leaked, journal.Retreated, journal.Returned},
		},
		{
			name: "no deduplication", file: "chat/apply.go",
			old:  "	if found {\n		r, err := answerResend(",
			new:  "	if found && index == 0 {\n		r, err := answerResend(",
			want: []journal.Kind{journal.Doubled},
		},
		{
			name: "a batch in the wrong order", file: "chat/writer.go",
			old:  "	for _, p := range w.proposals {\n		s.index++",
			new:  "	for i := range w.proposals {\n		p := w.proposals[len(w.proposals)-1-i]\n		s.index++",
			want: []journal.Kind{journal.SenderOrder},
		},
		{
			name: "pushes to a removed member", file: "delivery/push.go",
			old:  "			d.present.leave(e.Conversation, user)\n",
			new:  "			_ = user\n",
			want: []journal.Kind{journal.Leaked},
		},
		{
			name: "a recall that is not applied", file: "chat/events.go",
			old:  "		err = bury(tx, index, target, pb.MessageState_MESSAGE_STATE_RECALLED)\n",
			want: []journal.Kind{journal.Stale}, rounds: 3,
		},
		{
			name: "an expired message as it was", file: "chat/tombstone.go",
			old:  "	m.State = state\n",
			new:  "	if state == pb.MessageState_MESSAGE_STATE_EXPIRED {\n		return\n	}\n	m.State = state\n",
			want: []journal.Kind{journal.Returned}, rounds: 3,
		},
		{
			name: "a request that nobody is told of", file: "chat/contacts.go",
			old:  "	if c.told != pb.NoticeType_NOTICE_TYPE_UNSPECIFIED && !c.theirs.Blocked {\n",
			new:  "	if c.told > pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED && !c.theirs.Blocked {\n",
			want: []journal.Kind{journal.Undone}, rounds: 4,
		},
		{
			name: "an edit without its event", file: "chat/events.go",
			old: "		refusal = refuseEdit(cmd, target, m.TimeMs)\n",
			new: `		if refusal = refuseEdit(cmd, target, m.TimeMs); refusal == nil {
			target.ContentType, target.Body = m.ContentType, m.Body
			return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs}, effects, rewrite(tx, index, target)
		}
`,
			want: []journal.Kind{journal.Phantom}, rounds: 3,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // a run mostly waits
			binary := build(t, node.Build{Replace: mutate(t, test.file, test.old, test.new)})
			for run := range uint64(maxRuns) {
				report, err := runIn(t, Config{Binary: binary, Rounds: cmp.Or(test.rounds, 6), Seed: *seed + run, Progress: io.Discard})
				if report == nil {
					t.Fatal(err)
				}
				t.Log(report)
				if slices.ContainsFunc(report.Violations, func(v journal.Violation) bool { return slices.Contains(test.want, v.Kind) }) {
					return
				}
			}
			t.Fatal("survived")
		})
	}
}

// mutate writes a copy of one of our source files in which old, which must be
// there exactly once, is replaced.
func mutate(t *testing.T, file, old, replacement string) map[string]string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has the mutant's place %d times; the mutant must follow the code", file, n)
	}
	mutant := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(mutant, []byte(strings.Replace(string(source), old, replacement, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]string{path: mutant}
}
