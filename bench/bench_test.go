package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server until the test ends.
func start(tb testing.TB, args ...string) (target Target, pid int) {
	tb.Helper()
	dir := tb.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		tb.Fatal(err)
	}
	cfg := node.Config{Binary: filepath.Join(dir, "godwit"), Dir: filepath.Join(dir, "data"), Addr: addr, Args: args, Log: tb.Output()}
	if err := (node.Build{}).To(tb.Context(), cfg.Binary); err != nil {
		tb.Fatal(err)
	}
	server, err := node.Start(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	if err := server.Ready(ctx); err != nil {
		tb.Fatal(err)
	}
	keys, err := session.LoadKeySet(filepath.Join(cfg.Dir, "dev-keys.json"))
	if err != nil {
		tb.Fatal(err)
	}
	auth := session.DefaultAuthConfig()
	return Target{Addr: addr, Token: func(user string) (string, error) {
		return session.Sign(keys, "", auth.Algorithm, auth.Issuer, auth.Audience, user, time.Hour, time.Now())
	}}, server.PID()
}

// TestAgainstServer runs every scenario briefly against one real server.
func TestAgainstServer(t *testing.T) {
	target, pid := start(t, "--accept-rate", "400") // so that some are refused for now
	t.Run("direct", func(t *testing.T) { testDirect(t, target) })
	t.Run("direct again", func(t *testing.T) { testDirect(t, target) }) // into the same conversations
	t.Run("connect", func(t *testing.T) { testConnect(t, target, pid) })
	t.Run("refused", func(t *testing.T) {
		target.Token = func(string) (string, error) { return "x.y.z", nil }
		_, err := Direct(t.Context(), DirectConfig{Target: target})
		if protocol.CodeOf(err) != pb.Code_CODE_TOKEN_MALFORMED {
			t.Errorf("direct with a bad token: %v", err)
		}
		_, err = Connect(t.Context(), ConnectConfig{Target: target, Sessions: 3})
		if protocol.CodeOf(err) != pb.Code_CODE_TOKEN_MALFORMED {
			t.Errorf("connect with a bad token: %v", err)
		}
	})
}

func testDirect(t *testing.T, target Target) {
	var progress bytes.Buffer
	report, err := Direct(t.Context(), DirectConfig{
		Target: target, Pairs: 3, Window: 16, Warmup: 100 * time.Millisecond, For: time.Second, Progress: &progress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Messages == 0 || report.Ack.P50 <= 0 || report.Delivery.Max < report.Delivery.P50 {
		t.Errorf("%+v", report)
	}
	if !strings.Contains(progress.String(), "messages") {
		t.Errorf("progress %q", &progress)
	}
	checkOutputs(t, report, `"send_to_ack":{"p50_us":`, "send → delivery")
}

func testConnect(t *testing.T, target Target, pid int) {
	const sessions = 500
	var progress bytes.Buffer
	report, err := Connect(t.Context(), ConnectConfig{
		Target: target, Sessions: sessions, PID: pid, Settle: 100 * time.Millisecond, Progress: &progress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Sessions != sessions || report.Alive != sessions || report.RSSAfter == 0 || report.Refused == 0 {
		t.Errorf("%+v", report)
	}
	checkOutputs(t, report, `"rss_bytes_per_session":`, "500 alive at the end")
}

func checkOutputs(t *testing.T, report interface{ WriteTable(io.Writer) }, inJSON, inTable string) {
	t.Helper()
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(inJSON)) {
		t.Errorf("%s is not in %s", inJSON, text)
	}
	var table bytes.Buffer
	report.WriteTable(&table)
	if !strings.Contains(table.String(), inTable) {
		t.Errorf("%s is not in %s", inTable, &table)
	}
	t.Log(table.String())
}

// TestReceiverNotices feeds a receiver what a broken server could send.
func TestReceiverNotices(t *testing.T) {
	message := func(seq, count uint64, size int) *pb.Message {
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, count)
		return &pb.Message{Seq: seq, Body: body}
	}
	frame := func(kind protocol.Type, m proto.Message) protocol.Frame {
		f, _, err := protocol.Parse(protocol.AppendProto(nil, kind, 0, m), protocol.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	pushed := func(m *pb.Message) protocol.Frame { return frame(protocol.TypeMessage, m) }
	pulled := func(ms ...*pb.Message) protocol.Frame {
		return frame(protocol.TypePulled, &pb.Pulled{Messages: ms})
	}
	const size = 64
	first, second, third := message(8, 0, size), message(9, 1, size), message(10, 2, size)
	for _, test := range []struct {
		name   string
		frames []protocol.Frame
		err    string // of the last frame; "" = all are fine
	}{
		{"in order", []protocol.Frame{pushed(first), pushed(second), pushed(third)}, ""},
		{"a push that was pulled already", []protocol.Frame{pushed(first), pushed(third), pulled(second, third), pushed(third)}, ""},
		{"twice", []protocol.Frame{pushed(first), pushed(first)}, "seq 8 came where 9 was due"},
		{"a push while it is pulled", []protocol.Frame{pushed(first), pulled(first, second), pushed(third)}, ""},
		{"a push after it was pulled and read", []protocol.Frame{pulled(first), pushed(second), pushed(second)}, "seq 9 came where 10 was due"},
		{"a hole in a page", []protocol.Frame{pulled(first, third)}, "seq 10 came where 9 was due"},
		{"another message's body", []protocol.Frame{pushed(first), pushed(message(9, 2, size))}, "does not have the body of message 1"},
		{"a body cut short", []protocol.Frame{pushed(message(8, 0, size-1))}, "does not have the body"},
		{"an error", []protocol.Frame{frame(protocol.TypeError, &pb.Error{Code: pb.Code_CODE_BUSY})}, "BUSY"},
		{"an answer to nothing", []protocol.Frame{frame(protocol.TypeSynced, &pb.Synced{})}, "SYNCED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &pair{
				run:         &directRun{cfg: DirectConfig{Size: size}},
				undelivered: make(chan struct{}, 4), delivery: newHistogram(), next: 8,
				receiver: &conn{w: protocol.NewWriter(io.Discard)},
			}
			for range cap(p.undelivered) {
				p.undelivered <- struct{}{}
			}
			for i, f := range test.frames {
				err := p.handle(f)
				if last := i == len(test.frames)-1; last && test.err != "" {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Errorf("error %v, want one with %q", err, test.err)
					}
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []DirectConfig{{Pairs: -1}, {Size: stampSize - 1}, {Window: -1}, {For: -1}} {
		if _, err := Direct(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	for _, cfg := range []ConnectConfig{{Sessions: -1}, {PerSecond: -1}, {Sources: []string{}}, {PID: -1}} {
		if _, err := Connect(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
