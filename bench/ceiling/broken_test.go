package ceiling

import (
	"strings"
	"testing"

	"github.com/godwit-im/godwit/protocol"
)

// nth is which frame of a connection they treat badly: one of the first window,
// with others behind it, so that it comes to that on any machine.
const nth = 5

// The servers that a load must find out. They are children as the others are.
func init() {
	echoes := map[string]func(c *conn, n int, raw []byte){
		"lost":    func(c *conn, n int, raw []byte) { answer(c, n != nth, raw) },
		"doubled": func(c *conn, n int, raw []byte) { answer(c, true, raw); answer(c, n == nth, raw) },
		"short": func(c *conn, n int, raw []byte) {
			if n == nth {
				f, _, _ := protocol.Parse(raw, maxBody)
				raw = protocol.AppendFrame(nil, f.Type, f.Request, f.Body[1:])
			}
			answer(c, true, raw)
		},
	}
	for name, do := range echoes {
		roles["echo "+name] = func(job) (role, error) {
			n := 0
			return role{frame: func(c *conn, _ protocol.Frame, raw []byte) error {
				n++
				do(c, n, raw)
				return nil
			}}, nil
		}
	}
	for name, do := range map[string]func(l *loop, n, answered, pushed int){
		"ack lost":     func(l *loop, n, answered, _ int) { cut(&l.answer, n == nth, answered) },
		"push lost":    func(l *loop, n, _, pushed int) { cut(&l.push, n == nth, pushed) },
		"ack doubled":  func(l *loop, n, answered, _ int) { again(&l.answer, n == nth, answered) },
		"push doubled": func(l *loop, n, _, pushed int) { again(&l.push, n == nth, pushed) },
	} {
		roles["relay "+name] = func(j job) (role, error) {
			r, n := newRelay(j.Tail), 0
			return role{frame: func(c *conn, f protocol.Frame, raw []byte) error {
				n++
				answered, pushed := len(c.loop.answer), len(c.loop.push)
				err := r.frame(c, f, raw)
				do(c.loop, n, answered, pushed)
				return err
			}}, nil
		}
	}
	// One that forgets frames which it has answered.
	roles["echo uncounted"] = func(job) (role, error) {
		return role{frame: func(c *conn, _ protocol.Frame, raw []byte) error {
			c.loop.frames.Store(0)
			return echo(c, protocol.Frame{}, raw)
		}}, nil
	}
}

func answer(c *conn, whether bool, raw []byte) {
	if whether {
		c.loop.answer = append(c.loop.answer, raw...)
	}
}

func cut(b *[]byte, whether bool, at int) {
	if whether {
		*b = (*b)[:at]
	}
}

func again(b *[]byte, whether bool, at int) {
	if whether {
		*b = append(*b, (*b)[at:]...)
	}
}

func TestBrokenServersAreFoundOut(t *testing.T) {
	one := Loops{1, 1} // so that the roles need no lock
	for name, want := range map[string]string{
		"echo lost":          "unexpected SEND",
		"echo doubled":       "unexpected SEND",
		"echo short":         "unexpected SEND",
		"echo uncounted":     "the server counted",
		"relay ack lost":     "pair 0, sender",
		"relay push lost":    "pair 0, receiver",
		"relay ack doubled":  "pair 0, sender",
		"relay push doubled": "pair 0, receiver",
	} {
		var err error
		if strings.HasPrefix(name, "echo") {
			_, err = echoBy(testContext(t), EchoConfig{Conns: 1, Window: 8, Loops: one, Timing: brief}, name)
		} else {
			_, err = relayBy(testContext(t), RelayConfig{Pairs: 1, Window: 8, Loops: one, Timing: brief}, name)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
