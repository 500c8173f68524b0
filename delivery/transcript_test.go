package delivery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestTranscripts runs the files in testdata/transcripts: what clients ask in,
// the frames that all of them get out.
//
//	connect <user>/<device>           disconnect <user>/<device>
//	send <client> <peer> <client id> [body]
//	mark <client> <peer> [read=] [delivered=]
//	sync <client> [limit=] [again]    from the client's cursor, which is kept;
//	                                  again = from no cursor
//	pull <client> <peer> [from=] [until=] [limit=] [backward] [in=]
//	trim <user> <peer> below=
//	clog <client>                     it takes no more pushes
//	drain <client>                    it has taken everything
//
// Seqs in a request's answer stand behind the request id that the client chose.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		clock := time.UnixMilli(1_800_000_000_000)
		var mu sync.Mutex // guards clock
		n := newNode(t, func(c *nodeConfig) {
			c.chat.Now = func() time.Time { // every batch has a time of its own
				mu.Lock()
				defer mu.Unlock()
				clock = clock.Add(time.Millisecond)
				return clock
			}
			c.session.MaxLagged = 2
		})
		tr := &transcript{node: n, clients: map[string]*client{}, cursors: map[string][]byte{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return tr.run(t, d)
		})
	})
}

type transcript struct {
	node    *node
	clients map[string]*client
	cursors map[string][]byte
}

func (tr *transcript) run(t *testing.T, d *datadriven.TestData) string {
	var words []string
	options := map[string]string{}
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			words = append(words, arg.Key)
		} else {
			options[arg.Key] = arg.Vals[0]
		}
	}
	number := func(key string) (n uint64) {
		if s, ok := options[key]; ok {
			if _, err := fmt.Sscan(s, &n); err != nil {
				d.Fatalf(t, "%s=%s: %v", key, s, err)
			}
		}
		return n
	}
	name := words[0]
	if d.Cmd == "connect" {
		user, device, _ := strings.Cut(name, "/")
		tr.clients[name] = tr.node.connect(user, device)
		return ""
	}
	if d.Cmd == "trim" {
		p := &chat.Proposal{Command: chat.Command{
			Op: chat.OpTrim, Conversation: protocol.DirectID(words[0], words[1]), Below: number("below"),
		}}
		if err := tr.node.log.Submit(p); err != nil {
			d.Fatalf(t, "%v", err)
		}
		tr.node.submitted++
		tr.node.settle()
		return tr.news()
	}
	c := tr.clients[name]
	if c == nil {
		d.Fatalf(t, "%q is not connected", name)
	}
	switch d.Cmd {
	case "disconnect":
		c.disconnect()
		delete(tr.clients, name)
	case "send":
		c.send(words[1], words[2], strings.Join(words[3:], " "))
	case "mark":
		c.mark(words[1], number("read"), number("delivered"))
	case "sync":
		cursor := tr.cursors[name]
		if slices.Contains(words, "again") {
			cursor = nil
		}
		f := c.sync(&pb.Sync{Cursor: cursor, Limit: uint32(number("limit"))})
		if f.Type == protocol.TypeSynced {
			m := &pb.Synced{}
			decode(t, f, protocol.TypeSynced, m)
			tr.cursors[name] = m.Cursor
		}
		return name + " < " + show(f) + "\n" + tr.news()
	case "pull":
		conversation := options["in"]
		if conversation == "" {
			conversation = protocol.DirectID(c.User, words[1])
		}
		return name + " < " + show(c.pull(&pb.Pull{
			Conversation: conversation, From: number("from"), Until: number("until"),
			Limit: uint32(number("limit")), Backward: slices.Contains(words, "backward"),
		})) + "\n" + tr.news()
	case "clog":
		c.wire.mu.Lock()
		c.wire.room, c.wire.bytes = 0, 1
		c.wire.mu.Unlock()
	case "drain":
		c.wire.take()
		c.wire.mu.Lock()
		c.wire.room = -1
		c.wire.mu.Unlock()
		c.Drained()
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return tr.news()
}

// news is what the clients got, in the order of their names.
func (tr *transcript) news() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(tr.clients)) {
		w := tr.clients[name].wire
		w.mu.Lock()
		frames := w.frames
		w.frames = nil
		w.mu.Unlock()
		for _, f := range frames {
			fmt.Fprintf(&b, "%s < %s\n", name, show(f))
		}
	}
	return b.String()
}
