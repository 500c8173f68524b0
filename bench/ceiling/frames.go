package ceiling

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// stampSize is what every body begins with: the sender's count and clock, 8
// bytes each.
const stampSize = 16

// fullSeq and fullID are as long on the wire as those of a server that has run
// for a while.
const (
	fullSeq = 1 << 20
	fullID  = 1 << 60
)

// sendOf is the SEND of a pair, of the same length for all its messages.
func sendOf(pair, size int) *pb.Send {
	return &pb.Send{
		Conversation: protocol.DirectID("bench-from-"+strconv.Itoa(pair), "bench-to-"+strconv.Itoa(pair)),
		ClientId:     "mb4z0qk3h2w8-000000",
		Kind:         pb.Kind_KIND_CUSTOM,
		ContentType:  "application/octet-stream",
		Body:         make([]byte, size),
	}
}

// sendFrame is the frame of it. The body is last in it.
func sendFrame(pair, size int) []byte {
	return protocol.AppendProto(nil, protocol.TypeSend, 0, sendOf(pair, size))
}

// messageOf is the Message that a SEND becomes.
func messageOf(pair int, s *pb.Send, seq uint64) *pb.Message {
	return &pb.Message{
		Conversation: s.Conversation,
		Seq:          seq,
		Id:           fullID,
		Sender:       "bench-from-" + strconv.Itoa(pair),
		ClientId:     s.ClientId,
		TimeMs:       time.Now().UnixMilli(),
		Kind:         s.Kind,
		ContentType:  s.ContentType,
		Body:         s.Body,
		Count:        seq,
		SenderCount:  seq,
	}
}

// tailOf is how much longer a MESSAGE is than the SEND of the pair, in bytes.
func tailOf(pair, size int) int {
	s := sendOf(pair, size)
	return protocol.HeaderSize + protocol.SizeMessage(messageOf(pair, s, fullSeq)) - len(sendFrame(pair, size))
}

// sentFrame is an ack; the request id is to be filled in.
func sentFrame() []byte {
	return protocol.SentFrame(nil, 0, &pb.Sent{Seq: fullSeq, Id: fullID, TimeMs: time.Now().UnixMilli()})
}

// stamp makes frame, a SEND whose body has size bytes, the nth one, n from 0.
func stamp(frame []byte, size int, n uint64, now time.Duration) {
	binary.BigEndian.PutUint32(frame[4:], request(n))
	body := frame[len(frame)-size:]
	binary.BigEndian.PutUint64(body, n)
	binary.BigEndian.PutUint64(body[8:], uint64(now))
}

// request is the request id of the nth message.
func request(n uint64) uint32 { return uint32(n%(1<<31)) + 1 }

// stamped returns the clock in a body and checks the count.
func stamped(body []byte, n uint64) (time.Duration, error) {
	if got := binary.BigEndian.Uint64(body); got != n {
		return 0, fmt.Errorf("frame %d came where %d was due", got, n)
	}
	return time.Duration(binary.BigEndian.Uint64(body[8:])), nil
}

// eachFrame calls do for all whole frames in b and returns how long they are.
func eachFrame(b []byte, do func(f protocol.Frame) error) (taken int, err error) {
	for {
		f, n, err := protocol.Parse(b[taken:], maxBody)
		if n == 0 || err != nil {
			return taken, err
		}
		if err := do(f); err != nil {
			return taken, err
		}
		taken += n
	}
}
