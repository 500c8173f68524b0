package netpoll

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// copied is a frame that outlives the buffer it came in.
type copied struct {
	Type    protocol.Type
	Request uint32
	Body    string
}

func copyOf(f protocol.Frame) copied { return copied{f.Type, f.Request, string(f.Body)} }

// record makes a handler that sends every frame to the channel.
func record(size int) (*handler, chan copied) {
	got := make(chan copied, size)
	return &handler{frame: func(_ *Conn, f protocol.Frame) error {
		got <- copyOf(f)
		return nil
	}}, got
}

// stream is the bytes of frames with bodies of the given lengths, and the
// frames.
func stream(bodies ...int) (b []byte, frames []copied) {
	for i, n := range bodies {
		one := frameOf(protocol.TypePing, uint32(i+1), n, byte(i))
		b = append(b, one...)
		frames = append(frames, copied{protocol.TypePing, uint32(i + 1), string(one[protocol.HeaderSize:])})
	}
	return b, frames
}

func wantFrames(t *testing.T, where string, got <-chan copied, want []copied) {
	t.Helper()
	for i, w := range want {
		if g := within(t, "frame", got); g != w {
			t.Fatalf("%s: frame %d is %v %d with %d bytes, want %v %d with %d bytes", where, i,
				g.Type, g.Request, len(g.Body), w.Type, w.Request, len(w.Body))
		}
	}
}

// writeParts writes the parts of b between cuts one by one, each when the
// server has read the one before.
func writeParts(t *testing.T, s *Server, p *peer, b []byte, cuts ...int) {
	t.Helper()
	from := 0
	for _, to := range append(cuts, len(b)) {
		want := s.Stats().BytesIn.Load() + uint64(to-from)
		p.write(b[from:to])
		for s.Stats().BytesIn.Load() < want {
			runtime.Gosched()
		}
		from = to
	}
}

func TestFramesSplitAtEveryByte(t *testing.T) {
	h, got := record(100)
	s := start(t, h)
	p := dial(t, s)
	b, want := stream(0, 1, 0, 7, 8, 100, 0)
	for cut := 1; cut < len(b); cut++ {
		writeParts(t, s, p, b, cut)
		wantFrames(t, fmt.Sprintf("cut at %d", cut), got, want)
	}
	// Two cuts, over two headers and a body.
	for i := 1; i < 24; i++ {
		for j := i + 1; j < 25; j++ {
			writeParts(t, s, p, b, i, j)
			wantFrames(t, fmt.Sprintf("cut at %d and %d", i, j), got, want)
		}
	}
	var each []int
	for i := 1; i < len(b); i++ {
		each = append(each, i)
	}
	writeParts(t, s, p, b, each...)
	wantFrames(t, "cut everywhere", got, want)
}

func TestFramesMerged(t *testing.T) {
	const n = 20_000
	h, got := record(n)
	s := start(t, h)
	p := dial(t, s)
	bodies := make([]int, n)
	for i := range bodies {
		bodies[i] = i % 300
	}
	b, want := stream(bodies...)
	p.write(b)
	wantFrames(t, "merged", got, want)
}

// TestFeed checks against the plain meaning of the stream: whatever the
// lengths and however they are cut, the same frames come out, and at most one
// partial frame is kept.
func TestFeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got []copied
		c := detached(&handler{frame: func(_ *Conn, f protocol.Frame) error {
			got = append(got, copyOf(f))
			return nil
		}})
		c.authed = rapid.Bool().Draw(t, "authenticated")
		bodies := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, c.limit())), 1, 12).Draw(t, "bodies")
		b, want := stream(bodies...)
		for len(b) > 0 {
			n := rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(1, readBuffer)).Draw(t, "read")
			n = min(n, len(b))
			in := bytes.Clone(b[:n])
			c.feed(in)
			clear(in) // gnet reuses its buffer
			if limit := c.limit() + protocol.HeaderSize; cap(c.partial) > limit {
				t.Fatalf("keeps %d bytes, the limit is %d", cap(c.partial), limit)
			}
			b = b[n:]
		}
		if len(got) != len(want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("frame %d differs", i)
			}
		}
		if c.partial != nil {
			t.Fatal("keeps a buffer while idle")
		}
	})
}

// FuzzFeed: whatever arrives, in whatever pieces, is taken frame by frame or
// ends the connection, and what is kept stays within the limit.
func FuzzFeed(f *testing.F) {
	b, _ := stream(0, 3, 600)
	f.Add(b, uint8(5))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(1))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), uint8(11))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		taken := 0
		c := detached(&handler{frame: func(_ *Conn, f protocol.Frame) error {
			taken += protocol.HeaderSize + len(f.Body)
			return nil
		}})
		for rest := b; len(rest) > 0; {
			n := min(len(rest), 1+int(step))
			c.feed(rest[:n])
			rest = rest[n:]
		}
		if kept := len(c.partial); !c.closing.Load() && taken+kept != len(b) {
			t.Errorf("%d bytes taken and %d kept of %d", taken, kept, len(b))
		}
		if cap(c.partial) > protocol.PreAuthMaxFrame+protocol.HeaderSize {
			t.Errorf("%d bytes are kept", cap(c.partial))
		}
	})
}

// detached is a connection without a socket, for what doesn't touch it.
func detached(h Handler) *Conn {
	s, err := New(testConfig(), h)
	if err != nil {
		panic(err)
	}
	c := &Conn{id: 1, loop: newLoop(s, 0, nil)}
	c.loop.deaf = true
	if h, ok := h.(*handler); ok {
		h.conns = map[uint64]*watch{1: {}}
	}
	return c
}

// TestDrip sends a large frame byte by byte: the bytes kept are copied a
// logarithmic number of times, not once per byte, and the announced length is
// not allocated in advance.
func TestDrip(t *testing.T) {
	c := detached(quiet{})
	c.authed = true
	b := frameOf(protocol.TypeSend, 1, 256<<10, 0)
	grown, before := 0, 0
	for i := range b {
		c.feed(b[i : i+1])
		if cap(c.partial) == before {
			continue
		}
		if before = cap(c.partial); before > max(minPartial, 2*(i+1)) {
			t.Fatalf("%d bytes kept for %d received", before, i+1)
		}
		grown++
	}
	if grown > 20 {
		t.Errorf("the buffer was replaced %d times", grown)
	}
	if n := c.loop.tally.framesIn.Load(); n != 1 {
		t.Errorf("%d frames, want 1", n)
	}
}

func TestFeedAllocatesNothing(t *testing.T) {
	c := detached(quiet{})
	b := bytes.Repeat(benchFrame, 400)
	if n := testing.AllocsPerRun(100, func() { c.feed(b) }); n != 0 {
		t.Errorf("%v allocations for 400 frames, want 0", n)
	}
}

func TestFrameLimits(t *testing.T) {
	const maxFrame = 100 << 10
	for _, v := range []struct {
		name string
		auth bool
		size int
		ok   bool
	}{
		{"unauthenticated, at the limit", false, protocol.PreAuthMaxFrame, true},
		{"unauthenticated, past it", false, protocol.PreAuthMaxFrame + 1, false},
		{"authenticated, at the limit", true, maxFrame, true},
		{"authenticated, past it", true, maxFrame + 1, false},
		{"the most that a header can say", true, protocol.MaxBody, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			h, got := record(1)
			h.open = func(c *Conn) {
				if v.auth {
					c.Authenticated()
				}
			}
			s := start(t, h, func(cfg *Config) { cfg.MaxFrame = maxFrame })
			p := dial(t, s)
			if v.ok {
				p.write(frameOf(protocol.TypeSend, 1, v.size, 0))
				if f := within(t, "frame", got); len(f.Body) != v.size {
					t.Errorf("a body of %d bytes, want %d", len(f.Body), v.size)
				}
				return
			}
			// The header alone is enough.
			p.write(protocol.AppendHeader(nil, protocol.TypeSend, 1, v.size))
			p.wantError(pb.Code_CODE_FRAME_TOO_LARGE)
			if n := s.Stats().BadInput.Load(); n != 1 {
				t.Errorf("BadInput is %d, want 1", n)
			}
			if len(got) != 0 {
				t.Error("the frame was delivered")
			}
		})
	}
}

// TestAuthenticatedInMidRead raises the limit between two frames of one read.
func TestAuthenticatedInMidRead(t *testing.T) {
	h, got := record(2)
	record := h.frame
	h.frame = func(c *Conn, f protocol.Frame) error {
		c.Authenticated()
		return record(c, f)
	}
	s := start(t, h)
	p := dial(t, s)
	b, want := stream(10, 20<<10)
	p.write(b)
	wantFrames(t, "first flight", got, want)
}

func TestUnauthenticatedInputIsBounded(t *testing.T) {
	h, _ := record(1)
	s := start(t, h)
	p := dial(t, s)
	b := frameOf(protocol.TypeConnect, 1, protocol.PreAuthMaxFrame, 0)
	writeParts(t, s, p, b[:len(b)-1])
	s.Each(func(c *Conn) {
		if n := cap(c.partial); n > len(b) {
			t.Errorf("%d bytes kept, the largest frame is %d", n, len(b))
		}
		if n := c.gc.InboundBuffered(); n != 0 {
			t.Errorf("gnet buffers %d bytes, want 0", n)
		}
	})
}

func TestOtherProtocols(t *testing.T) {
	for _, v := range []struct{ name, in, want string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "HTTP/1.1 400 "},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 400 "},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "looks like TLS"},
		{"garbage", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8 and more of it", "the limit is"},
	} {
		t.Run(v.name, func(t *testing.T) {
			h, got := record(1)
			s := start(t, h)
			p := dial(t, s)
			p.write([]byte(v.in))
			answer, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(answer), v.want) {
				t.Errorf("answered %q, want %q in it", answer, v.want)
			}
			if len(got) != 0 {
				t.Error("a frame was delivered")
			}
		})
	}
}

// TestFrameError ends a connection from OnFrame; what was pipelined behind is
// dropped.
func TestFrameError(t *testing.T) {
	for _, v := range []struct {
		name string
		err  error
		code protocol.Code
	}{
		{"coded", fmt.Errorf("wrapped: %w", protocol.Errorf(pb.Code_CODE_UNKNOWN_TYPE, "no")), pb.Code_CODE_UNKNOWN_TYPE},
		{"not coded", io.ErrUnexpectedEOF, pb.Code_CODE_INTERNAL},
	} {
		t.Run(v.name, func(t *testing.T) {
			frames := 0
			closed := make(chan error, 1)
			s := start(t, &handler{
				frame: func(c *Conn, f protocol.Frame) error {
					frames++
					if f.Request == 3 {
						return v.err
					}
					c.Reply(frameOf(protocol.TypePong, f.Request, 0, 0))
					return nil
				},
				closed: func(_ *Conn, err error) { closed <- err },
			})
			p := dial(t, s)
			b, _ := stream(0, 0, 0, 0, 0)
			p.write(b)
			for i := range uint32(2) {
				if f := p.mustNext(); f.Request != i+1 {
					t.Fatalf("answer to %d, want %d", f.Request, i+1)
				}
			}
			p.wantError(v.code)
			if err := within(t, "OnClose", closed); err != v.err {
				t.Errorf("OnClose got %v, want %v", err, v.err)
			}
			if frames != 3 {
				t.Errorf("%d frames were delivered, want 3", frames)
			}
		})
	}
}
