package protocol_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// frame is a protocol.Frame whose body is its own.
type frame struct {
	typ     protocol.Type
	request uint32
	body    string
}

func readAll(t *testing.T, r *protocol.Reader) ([]frame, error) {
	t.Helper()
	var frames []frame
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return frames, err
		}
		frames = append(frames, frame{f.Type, f.Request, string(f.Body)})
	}
}

func TestReaderReturnsWhatWriterWrote(t *testing.T) {
	want := []frame{
		{protocol.TypePing, 7, ""},
		{protocol.TypeSend, 1, "short"},
		{protocol.TypeSend, 2, strings.Repeat("longer than a buffer ", 1000)},
		{protocol.TypeBye, 0, ""},
	}
	var stream bytes.Buffer
	w := protocol.NewWriter(&stream)
	for range 40 { // more than a buffer of small ones as well
		for _, f := range want {
			if err := w.WriteFrame(f.typ, f.request, []byte(f.body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string]io.Reader{
		"at once":         bytes.NewReader(stream.Bytes()),
		"one byte each":   iotest.OneByteReader(bytes.NewReader(stream.Bytes())),
		"halves":          iotest.HalfReader(bytes.NewReader(stream.Bytes())),
		"error with data": iotest.DataErrReader(bytes.NewReader(stream.Bytes())),
	} {
		got, err := readAll(t, protocol.NewReader(src, 64<<10))
		if err != io.EOF {
			t.Errorf("%s: ended with %v, want io.EOF", name, err)
		}
		if len(got) != 40*len(want) {
			t.Fatalf("%s: %d frames, want %d", name, len(got), 40*len(want))
		}
		for i, f := range got {
			if f != want[i%len(want)] {
				t.Fatalf("%s: frame %d is %.60v, want %.60v", name, i, f, want[i%len(want)])
			}
		}
	}
}

func TestReaderStreamEnd(t *testing.T) {
	whole := protocol.AppendFrame(nil, protocol.TypeSend, 1, []byte("body"))
	for cut := range whole {
		r := protocol.NewReader(bytes.NewReader(whole[:cut]), 100)
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if _, err := r.ReadFrame(); err != want {
			t.Errorf("%d bytes: %v, want %v", cut, err, want)
		}
	}
}

func TestReaderLimit(t *testing.T) {
	b := protocol.AppendFrame(nil, protocol.TypePing, 1, make([]byte, 10))
	b = protocol.AppendFrame(b, protocol.TypePing, 2, make([]byte, 11))
	r := protocol.NewReader(bytes.NewReader(b), 10)
	if _, err := r.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.ReadFrame(); protocol.CodeOf(err) != pb.Code_CODE_FRAME_TOO_LARGE {
			t.Fatalf("got %v, want FRAME_TOO_LARGE", err)
		}
	}
	r.SetMaxBody(11)
	f, err := r.ReadFrame()
	if err != nil || f.Request != 2 || len(f.Body) != 11 {
		t.Fatalf("got %v, %v after the limit was raised", f, err)
	}
}

func TestReaderAllocatesNothingForAnOversizeFrame(t *testing.T) {
	const tries = 64
	header := protocol.AppendHeader(nil, protocol.TypePulled, 1, protocol.MaxBody)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range tries {
		r := protocol.NewReader(bytes.NewReader(header), protocol.MaxBody-1)
		if _, err := r.ReadFrame(); protocol.CodeOf(err) != pb.Code_CODE_FRAME_TOO_LARGE {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / tries; got > 16<<10 {
		t.Fatalf("%d bytes allocated for each oversize header", got)
	}
}

func TestReaderGoesOnAfterATimeout(t *testing.T) {
	b := protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte("arrives in pieces"))
	// The first read brings one byte, the second one a timeout.
	r := protocol.NewReader(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(b))), 100)
	if _, err := r.ReadFrame(); err != iotest.ErrTimeout {
		t.Fatalf("got %v, want a timeout", err)
	}
	if r.Buffered() != 1 {
		t.Fatalf("%d bytes buffered, want 1", r.Buffered())
	}
	f, err := r.ReadFrame()
	if err != nil || string(f.Body) != "arrives in pieces" {
		t.Fatalf("got %v, %v", f, err)
	}
}

func TestReaderReusesItsBuffer(t *testing.T) {
	b := protocol.AppendFrame(nil, protocol.TypeMessage, 0, make([]byte, 300))
	r := protocol.NewReader(endless{b, new(int)}, 1000)
	if allocs := testing.AllocsPerRun(1000, func() {
		if _, err := r.ReadFrame(); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Fatalf("%v allocations a frame", allocs)
	}
}

// endless repeats b.
type endless struct {
	b  []byte
	at *int
}

func (e endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[*e.at:])
	*e.at = (*e.at + n) % len(e.b)
	return n, nil
}

func TestReaderNoProgress(t *testing.T) {
	r := protocol.NewReader(silent{}, 100)
	if _, err := r.ReadFrame(); err != io.ErrNoProgress {
		t.Fatalf("got %v", err)
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestWriterRefusals(t *testing.T) {
	var stream bytes.Buffer
	w := protocol.NewWriter(&stream)
	w.SetMaxBody(20)
	if err := w.WriteFrame(protocol.TypeSend, 1, make([]byte, 21)); protocol.CodeOf(err) != pb.Code_CODE_FRAME_TOO_LARGE {
		t.Errorf("oversize frame: %v", err)
	}
	if err := w.WriteProto(protocol.TypeSend, 1, &pb.Send{Body: make([]byte, 21)}); protocol.CodeOf(err) != pb.Code_CODE_FRAME_TOO_LARGE {
		t.Errorf("oversize message: %v", err)
	}
	if err := w.WriteProto(protocol.TypeSend, 1, &pb.Send{ContentType: "\xff"}); err == nil {
		t.Error("a string that is not UTF-8 was written")
	}
	if err := w.WriteProto(protocol.TypePing, 3, nil); err != nil {
		t.Error(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, protocol.NewReader(&stream, 100))
	if err != io.EOF || fmt.Sprint(got) != fmt.Sprint([]frame{{protocol.TypePing, 3, ""}}) {
		t.Fatalf("refused frames left traces: %v, %v", got, err)
	}
}

func TestWriterErrorIsFinal(t *testing.T) {
	broken := errors.New("broken")
	w := protocol.NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if err := w.WriteFrame(protocol.TypePing, 1, nil); err != nil {
		t.Fatalf("a buffered frame failed: %v", err)
	}
	for range 2 {
		if err := w.Flush(); err != broken {
			t.Fatalf("got %v", err)
		}
	}
	if err := w.WriteFrame(protocol.TypePing, 1, nil); err != broken {
		t.Fatalf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
