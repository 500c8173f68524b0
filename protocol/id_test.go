package protocol_test

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// idCases returns the lines of a section of ids.txtar, decoded where they are
// hexadecimal.
func idCases(t testing.TB, section string) []string {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/ids.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var cases []string
	for _, file := range archive.Files {
		if file.Name != section {
			continue
		}
		for line := range strings.Lines(string(file.Data)) {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			switch {
			case line == "":
				continue
			case line == ".":
				line = ""
			case strings.HasSuffix(section, ".hex"):
				b, err := parseHex(line)
				if err != nil {
					t.Fatal(err)
				}
				line = string(b)
			}
			cases = append(cases, line)
		}
	}
	if len(cases) == 0 {
		t.Fatalf("ids.txtar has no cases in %q", section)
	}
	return cases
}

func TestGoldenDirectIDs(t *testing.T) {
	for _, line := range idCases(t, "direct") {
		fields := strings.Fields(line)
		x, y, want := fields[0], fields[1], fields[2]
		if got := protocol.DirectID(x, y); got != want {
			t.Errorf("DirectID(%q, %q) = %q, want %q", x, y, got, want)
		}
		a, b, err := protocol.ParseDirect(want)
		if err != nil || a != min(x, y) || b != max(x, y) {
			t.Errorf("ParseDirect(%q) = %q, %q, %v", want, a, b, err)
		}
	}
}

func TestGoldenIDs(t *testing.T) {
	for _, id := range idCases(t, "user.good") {
		if err := protocol.CheckID("it", id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range idCases(t, "user.bad.hex") {
		if err := protocol.CheckID("it", id); protocol.CodeOf(err) != pb.Code_CODE_BAD_ID {
			t.Errorf("%q: %v, want BAD_ID", id, err)
		}
	}
	for _, id := range idCases(t, "conversation.bad.hex") {
		if a, b, err := protocol.ParseDirect(id); protocol.CodeOf(err) != pb.Code_CODE_BAD_ID {
			t.Errorf("%q: %q, %q, %v, want BAD_ID", id, a, b, err)
		}
	}
}

func TestPeer(t *testing.T) {
	for _, c := range []struct {
		conversation, user, peer string
		member                   bool
	}{
		{"d:alice:bob", "alice", "bob", true},
		{"d:alice:bob", "bob", "alice", true},
		{"d:alice:bob", "carol", "", false},
		{"d:alice:bob", "", "", false},
		{"d:bob:alice", "bob", "", false},
		{"", "alice", "", false},
	} {
		if peer, member := protocol.Peer(c.conversation, c.user); peer != c.peer || member != c.member {
			t.Errorf("Peer(%q, %q) = %q, %v", c.conversation, c.user, peer, member)
		}
	}
}

func TestMaxConversationID(t *testing.T) {
	id := protocol.DirectID(strings.Repeat("a", protocol.MaxID), strings.Repeat("b", protocol.MaxID))
	if _, _, err := protocol.ParseDirect(id); err != nil || len(id) != protocol.MaxConversationID {
		t.Fatalf("the longest id has %d bytes, want %d: %v", len(id), protocol.MaxConversationID, err)
	}
}

func TestConversationIDs(t *testing.T) {
	for id, kind := range map[string]protocol.ConversationKind{
		protocol.DirectID("bob", "alice"):   protocol.Direct,
		protocol.GroupID("alice", "team-1"): protocol.Group,
		protocol.SystemID("alice"):          protocol.System,
	} {
		if err := protocol.CheckConversation(id); err != nil || protocol.KindOf(id) != kind {
			t.Errorf("%s: %v, %c", id, err, protocol.KindOf(id))
		}
	}
	long := strings.Repeat("x", protocol.MaxID)
	if n := len(protocol.GroupID(long, long)); n > protocol.MaxConversationID {
		t.Errorf("a group's id may have %d bytes", n)
	}
	for _, id := range []string{"", "d", "d:", "d:alice", "d:bob:alice", "g:", "g:alice", "g:alice:", "g::1", "g:alice:1:2", "g:a b:1", "s:", "s:a:b", "s:" + long + "x", "x:alice", "alice"} {
		if err := protocol.CheckConversation(id); protocol.CodeOf(err) != pb.Code_CODE_BAD_ID {
			t.Errorf("%q: %v", id, err)
		}
	}
}
