package fakeserver

import (
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestViolationsAreNoticed breaks each rule that the SDK's tests rely on the
// fake to watch.
func TestViolationsAreNoticed(t *testing.T) {
	connect := protocol.AppendProto(nil, protocol.TypeConnect, 1, &pb.Connect{Token: "alice", Device: "d", Platform: "p"})
	send := func(id uint32, size int) []byte {
		return protocol.AppendProto(nil, protocol.TypeSend, id, &pb.Send{
			Conversation: "d:alice:bob", ClientId: "c" + itoa(int(id)), Kind: pb.Kind_KIND_TEXT, Body: make([]byte, size),
		})
	}
	mark := protocol.AppendProto(nil, protocol.TypeMark, 3, &pb.Mark{Conversation: "d:alice:bob", ReadSeq: 1})
	for name, test := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"not CONNECT":         {[][]byte{send(1, 1)}, "SEND before CONNECT"},
		"two CONNECTs":        {[][]byte{connect, connect}, "a second CONNECT"},
		"too many":            {[][]byte{connect, send(2, 1), send(3, 1), send(4, 1), send(5, 1)}, "4 requests in flight"},
		"too large":           {[][]byte{connect, send(2, 600), send(3, 600)}, "bytes in flight"},
		"no request id":       {[][]byte{connect, send(0, 1)}, "SEND without a request id"},
		"two MARKs at a time": {[][]byte{connect, mark, mark}, "2 MARKs"},
		"silence":             {[][]byte{connect}, "silent"},
		"unknown type":        {[][]byte{connect, protocol.AppendHeader(nil, 0x7f, 2, 0)}, "unknown type"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{MaxInFlight: 3, MaxInFlightBytes: 1000}
			delay := time.Hour // the answers are long in coming
			if name == "silence" {
				cfg.Heartbeat, delay = 20*time.Millisecond, 0 // or the connection would wait for them to end
			}
			s, err := Start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.SetFaults(Faults{Delay: delay})
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, f := range test.frames {
				if _, err := c.Write(f); err != nil {
					t.Fatal(err)
				}
			}
			if !s.Until(2*time.Minute, func() bool {
				return strings.Contains(strings.Join(s.Violations(), "\n"), test.want)
			}) {
				t.Errorf("violations %q, want %q", s.Violations(), test.want)
			}
		})
	}
}
