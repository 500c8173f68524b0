package godwit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// call is a request that the application waits for. All are reads, so one that
// was in flight when the connection ended is asked again on the next.
type call struct {
	kind protocol.Type
	body proto.Message
	done chan struct{} // closed once answer or err is set

	// Client.mu guards these; the first two may be read after done.
	answer    proto.Message
	err       error
	abandoned bool // the application has stopped waiting
}

func (c *call) finish(answer proto.Message, err error) {
	c.answer, c.err = answer, err
	close(c.done)
}

// ask sends a request, when there is a connection, and waits for the answer.
// While the server is busy it asks again.
func (c *Client) ask(ctx context.Context, kind protocol.Type, body proto.Message) (proto.Message, error) {
	for attempt := 0; ; attempt++ {
		answer, err := c.askOnce(ctx, kind, body)
		var e *protocol.Error
		if !errors.As(err, &e) {
			return answer, err
		}
		switch e.Code {
		case pb.Code_CODE_BUSY, pb.Code_CODE_RATE_LIMITED, pb.Code_CODE_TOO_MANY_IN_FLIGHT, pb.Code_CODE_DRAINING:
		default:
			return nil, fmt.Errorf("godwit: %v: %w", kind, err)
		}
		wait := time.NewTimer(e.RetryAfter + resendBackoff.wait(attempt))
		err = await(ctx, c, wait.C)
		wait.Stop()
		if err != nil {
			return nil, err
		}
	}
}

func (c *Client) askOnce(ctx context.Context, kind protocol.Type, body proto.Message) (proto.Message, error) {
	mine := &call{kind: kind, body: body, done: make(chan struct{})}
	c.mu.Lock()
	if err := c.closedErr(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.account.calls = append(c.account.calls, mine)
	c.mu.Unlock()
	c.account.sessionBell.ring()
	if err := await(ctx, c, mine.done); err != nil {
		c.mu.Lock()
		mine.abandoned = true
		c.account.calls = slices.DeleteFunc(c.account.calls, func(other *call) bool { return other == mine })
		c.mu.Unlock()
		return nil, err
	}
	return mine.answer, mine.err
}

// History returns up to limit messages before seq before (0: the newest), in
// seq order. There are fewer only where the conversation, or what retention
// left of it, begins. It asks the server, waiting for a connection if there is
// none, and has nothing to do with what OnMessage receives.
func (c *Client) History(ctx context.Context, conversation string, before uint64, limit int) ([]Message, error) {
	if limit <= 0 || before == 1 {
		return nil, nil
	}
	if err := checkConversation(conversation); err != nil {
		return nil, fmt.Errorf("godwit: history: %w", err)
	}
	var from uint64 // 0 = the newest
	if before > 0 {
		from = before - 1
	}
	var pages [][]Message
	for {
		answer, err := c.ask(ctx, protocol.TypePull, &pb.Pull{
			Conversation: conversation, From: from, Backward: true, Limit: uint32(min(limit, pullLimit)),
		})
		if CodeOf(err) == pb.Code_CODE_SEQ_OUT_OF_RANGE && from > 0 && pages == nil {
			from = 0 // all that there is comes before
			continue
		}
		if err != nil {
			return nil, err
		}
		page := answer.(*pb.Pulled)
		messages := make([]Message, len(page.Messages))
		for i, wire := range page.Messages {
			messages[i] = fromWire(wire)
		}
		pages = append(pages, messages)
		limit -= len(messages)
		if limit <= 0 || !page.More || len(messages) == 0 || messages[0].Seq <= 1 {
			slices.Reverse(pages)
			return slices.Concat(pages...), nil
		}
		from = messages[0].Seq - 1
	}
}

// Conversations returns all conversations of the user, the newest first. It
// asks the server, waiting for a connection if there is none.
func (c *Client) Conversations(ctx context.Context) ([]Conversation, error) {
	var all []Conversation
	for cursor := []byte(nil); ; {
		answer, err := c.ask(ctx, protocol.TypeSync, &pb.Sync{Cursor: cursor})
		if err != nil {
			return nil, err
		}
		page := answer.(*pb.Synced)
		if page.Reset_ && cursor != nil {
			// Between two pages the server was restored.
			all, cursor = nil, nil
			continue
		}
		for _, cs := range page.Conversations {
			all = append(all, c.conversation(cs))
		}
		if !page.More {
			return all, nil
		}
		cursor = page.Cursor
	}
}

func (c *Client) conversation(cs *pb.ConversationState) Conversation {
	conv := Conversation{
		ID:          cs.Conversation,
		HeadSeq:     cs.HeadSeq,
		MinSeq:      cs.MinSeq,
		Unread:      cs.Unread,
		ReadSeq:     cs.ReadSeq,
		PeerReadSeq: cs.PeerReadSeq,

		DeliveredSeq:     cs.DeliveredSeq,
		PeerDeliveredSeq: cs.PeerDeliveredSeq,
	}
	conv.Peer, _ = protocol.Peer(cs.Conversation, c.User())
	if cs.Last != nil {
		last := fromWire(cs.Last)
		conv.Last = &last
	}
	return conv
}

// Online returns those of the users who are connected at the moment and with
// whom the user has a conversation. It asks the server, waiting for a
// connection if there is none.
func (c *Client) Online(ctx context.Context, users ...string) ([]string, error) {
	for _, user := range users {
		if err := protocol.CheckID("user", user); err != nil {
			return nil, fmt.Errorf("godwit: online: %w", err)
		}
	}
	var online []string
	for some := range slices.Chunk(users, protocol.MaxWho) {
		answer, err := c.ask(ctx, protocol.TypeWho, &pb.Who{Users: some})
		if err != nil {
			return nil, err
		}
		online = append(online, answer.(*pb.Present).Online...)
	}
	return online, nil
}
