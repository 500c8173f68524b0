package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// connBuffer is the initial size of a Reader's and the size of a Writer's
// buffer, in bytes: a couple of dozen chat messages to a system call, and a
// process can still hold thousands of clients.
const connBuffer = 4 << 10

// Reader reads frames from a blocking stream, such as a client's connection.
// It is not safe for concurrent use. It may be used at the same time as a
// Writer of the same connection.
type Reader struct {
	src     io.Reader
	maxBody int

	buf  []byte // buf[r:w] is read from src and not yet returned
	r, w int
	err  error // src's error, kept until what came with it has been returned
}

// NewReader returns a Reader of frames with bodies of up to maxBody bytes. It
// reads ahead, so nobody else may read from src afterwards.
func NewReader(src io.Reader, maxBody int) *Reader {
	return &Reader{src: src, maxBody: maxBody}
}

// SetMaxBody changes the longest body that is accepted, in bytes, from the
// next frame on: a client raises it to Connected.max_frame.
func (r *Reader) SetMaxBody(maxBody int) { r.maxBody = maxBody }

// ReadFrame blocks until a whole frame is there and returns it. The frame's
// Body is valid until the next call.
//
// The error is io.EOF when the stream ends between two frames,
// io.ErrUnexpectedEOF when it ends inside one, an *Error when the bytes are
// not an acceptable frame, or else whatever src returned. A body over the limit
// fails on its header, before any memory is set aside for it. After an error
// of src that passes, such as a timeout, ReadFrame may be called again and
// goes on where it was; after an *Error it returns that error again.
func (r *Reader) ReadFrame() (Frame, error) {
	for {
		f, n, err := Parse(r.buf[r.r:r.w], r.maxBody)
		if err != nil {
			return Frame{}, err
		}
		if n > 0 {
			r.r += n
			return f, nil
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

// Buffered is the number of bytes that were read and not yet returned. Where
// it is 0 the next ReadFrame is certain to ask the stream.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill makes room for the frame that begins at r.r, whose header Parse has
// accepted if it is there, and reads once.
func (r *Reader) fill() error {
	if r.err != nil {
		return r.takeErr()
	}
	need := connBuffer
	if r.w-r.r >= HeaderSize {
		need = max(need, HeaderSize+bodySize(r.buf[r.r:]))
	}
	switch {
	case need > len(r.buf):
		grown := make([]byte, need)
		r.w = copy(grown, r.buf[r.r:r.w])
		r.r = 0
		r.buf = grown
	case r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	// Parse wants more, so the frame does not fill the buffer: there is room.
	for range 100 { // as bufio does
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return r.takeErr()
		}
	}
	return io.ErrNoProgress
}

func (r *Reader) takeErr() error {
	err := r.err
	r.err = nil
	if errors.Is(err, io.EOF) && r.w > r.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Writer writes frames to a blocking stream through a buffer. It is not safe
// for concurrent use. It may be used at the same time as a Reader of the same
// connection.
//
// A failed write of the stream is final: every later call returns it too.
type Writer struct {
	dst     *bufio.Writer
	maxBody int
}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer {
	return &Writer{dst: bufio.NewWriterSize(dst, connBuffer), maxBody: MaxBody}
}

// SetMaxBody sets the longest body that may be written, in bytes; MaxBody
// until then. A client sets it to what the server accepts, since the server
// closes the connection of one who sends more.
func (w *Writer) SetMaxBody(maxBody int) { w.maxBody = min(maxBody, MaxBody) }

// WriteFrame writes a frame into the buffer, and the buffer to the stream
// when it is full. The body is not kept. A body over the limit is a
// FRAME_TOO_LARGE error and nothing is written.
func (w *Writer) WriteFrame(t Type, request uint32, body []byte) error {
	if err := w.check(t, len(body)); err != nil {
		return err
	}
	if _, err := w.dst.Write(AppendHeader(w.dst.AvailableBuffer(), t, request, len(body))); err != nil {
		return err
	}
	_, err := w.dst.Write(body)
	return err
}

// WriteProto is WriteFrame with the encoding of m as the body. A message that
// has no encoding, since a string in it is not UTF-8, is an error and nothing
// is written.
func (w *Writer) WriteProto(t Type, request uint32, m proto.Message) error {
	size := proto.Size(m)
	if err := w.check(t, size); err != nil {
		return err
	}
	frame := AppendHeader(w.dst.AvailableBuffer(), t, request, size)
	frame, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(frame, m)
	if err != nil {
		return fmt.Errorf("encoding %v: %w", t, err)
	}
	_, err = w.dst.Write(frame)
	return err
}

// Flush writes what is in the buffer to the stream.
func (w *Writer) Flush() error { return w.dst.Flush() }

func (w *Writer) check(t Type, size int) error {
	if size > w.maxBody {
		return Errorf(pb.Code_CODE_FRAME_TOO_LARGE, "%v body of %d bytes, the limit is %d", t, size, w.maxBody)
	}
	return nil
}
