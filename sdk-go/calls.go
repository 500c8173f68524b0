package godwit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// maxCalls is how many calls may be without an answer at a time.
const maxCalls = 1000

// Call is a request to the server that is under way: a future. Its methods are
// safe for concurrent use. It needs no closing and may be dropped at any time.
//
// A call waits for a connection if there is none. One that was not answered when
// the connection ended is asked again on the next, and so is one that the server
// can't serve for the moment; all requests may be repeated, but where the first
// one was done and its answer lost, the second may be refused: one can't leave a
// group twice. (Signals are not repeated.) What a call did is in the local model
// when it is done.
type Call[T any] struct {
	client *Client
	call   *call
	result func(proto.Message) T
}

// Done is closed when the answer is there, or it is certain that none will be.
func (c *Call[T]) Done() <-chan struct{} { return c.call.done }

// Wait waits for the answer, and returns the same each time. A refusal of the
// server is a *protocol.Error: see CodeOf. If ctx ends first the call goes on:
// see Cancel.
func (c *Call[T]) Wait(ctx context.Context) (T, error) {
	var none T
	if err := await(ctx, c.client, c.call.done); err != nil {
		return none, err
	}
	if c.call.err != nil {
		return none, c.call.err
	}
	return c.result(c.call.answer), nil
}

// Cancel has the request not be sent if it was not yet, and not sent again.
// Wait then returns context.Canceled. After the answer it does nothing.
func (c *Call[T]) Cancel() {
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	c.client.account.abandon(c.call)
}

// call is a request that the application waits for.
type call struct {
	kind protocol.Type
	body proto.Message
	once bool          // it is not asked again when its connection ends
	done chan struct{} // closed once answer or err is set
	// learn takes the answer into the local model; nil if there is nothing to
	// learn. Client.mu is held.
	learn func(a *account, answer proto.Message)
	// informs is the conversation that an INFO is to be had of before the call is
	// done, because the answer does not say how the user's own row of it is now.
	informs func(answer proto.Message) string

	// Client.mu guards these; the first two may be read after done.
	answer    proto.Message
	err       error
	abandoned bool // the application has stopped waiting
	attempts  int
	notBefore time.Time
}

func (c *call) finish(answer proto.Message, err error) {
	if c.abandoned {
		return // and done is closed
	}
	c.answer, c.err = answer, err
	c.abandoned = true
	close(c.done)
}

// abandon gives a call up.
func (a *account) abandon(c *call) {
	c.finish(nil, context.Canceled)
	a.calls = slices.DeleteFunc(a.calls, func(other *call) bool { return other == c })
}

// start makes a call.
func start[T any](c *Client, kind protocol.Type, body proto.Message, learn func(*account, proto.Message), result func(proto.Message) T) *Call[T] {
	return begin(c, &call{kind: kind, body: body, learn: learn}, result)
}

func begin[T any](c *Client, mine *call, result func(proto.Message) T) *Call[T] {
	mine.done = make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.account
	switch err := c.closedErr(); {
	case err != nil:
		mine.finish(nil, err)
	case mine.once && a.session == nil:
		mine.finish(nil, ErrNotConnected)
	case len(a.calls) >= maxCalls:
		mine.finish(nil, ErrTooManyCalls)
	default:
		a.calls = append(a.calls, mine)
		a.sessionBell.ring()
	}
	return &Call[T]{client: c, call: mine, result: result}
}

// failed is a call that could not be made.
func failed[T any](c *Client, err error) *Call[T] {
	mine := &call{done: make(chan struct{})}
	mine.finish(nil, err)
	return &Call[T]{client: c, call: mine}
}

// ask makes a call and waits for it; if ctx ends first it is given up.
func (c *Client) ask(ctx context.Context, kind protocol.Type, body proto.Message) (proto.Message, error) {
	mine := start(c, kind, body, nil, func(m proto.Message) proto.Message { return m })
	answer, err := mine.Wait(ctx)
	if err != nil {
		mine.Cancel()
	}
	return answer, err
}

// called takes the answer to a call.
func (s *session) called(r request, answer proto.Message) {
	c := r.call
	if c.learn != nil {
		c.learn(s.account, answer)
	}
	if c.informs == nil {
		c.finish(answer, nil)
		return
	}
	c.answer = answer
	s.inform(s.account.box(c.informs(answer)), c)
}

// callFailed takes the refusal of one.
func (s *session) callFailed(c *call, e *protocol.Error, now time.Time) {
	switch e.Code {
	case pb.Code_CODE_BUSY, pb.Code_CODE_RATE_LIMITED, pb.Code_CODE_TOO_MANY_IN_FLIGHT, pb.Code_CODE_DRAINING:
		if c.once || c.abandoned {
			break
		}
		c.notBefore = now.Add(e.RetryAfter + resendBackoff.wait(c.attempts))
		c.attempts++
		s.account.calls = append(s.account.calls, c)
		s.timers.add(c.notBefore, nil, callTimer)
		return
	}
	c.finish(nil, fmt.Errorf("godwit: %v: %w", c.kind, e))
}

func (s *session) appendCall(out []byte, now time.Time) []byte {
	a := s.account
	i := slices.IndexFunc(a.calls, func(c *call) bool { return !c.notBefore.After(now) })
	if i < 0 {
		return out
	}
	c := a.calls[i]
	a.calls = slices.Delete(a.calls, i, i+1)
	return s.request(out, request{kind: c.kind, call: c}, c.body, now)
}

// callsAgain has the calls that were not answered on a connection asked on the
// next one.
func (a *account) callsAgain(s *session) {
	var again []*call
	for _, r := range s.requests {
		switch {
		case r.call == nil || r.call.abandoned:
		case r.call.once:
			r.call.finish(nil, ErrNotConnected)
		default:
			again = append(again, r.call)
		}
	}
	a.calls = slices.Concat(again, a.calls)
	a.calls = slices.DeleteFunc(a.calls, func(c *call) bool {
		c.notBefore = time.Time{}
		if c.once {
			c.finish(nil, ErrNotConnected)
		}
		return c.once
	})
}

// endCalls ends all calls of a client that has ended.
func (a *account) endCalls(err error) {
	for _, c := range a.calls {
		c.finish(nil, err)
	}
	a.calls = nil
}

// History returns up to limit messages before seq before (0: the newest), in
// seq order, events among them. There are fewer only where the conversation, or
// what retention left of it, begins. It asks the server, waiting for a connection
// if there is none, and has nothing to do with what OnMessage receives.
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
		messages, more, err := c.pull(ctx, &pb.Pull{
			Conversation: conversation, From: from, Backward: true, Limit: uint32(min(limit, pullLimit)),
		})
		if CodeOf(err) == pb.Code_CODE_SEQ_OUT_OF_RANGE && from > 0 && pages == nil {
			from = 0 // all that there is comes before
			continue
		}
		if err != nil {
			return nil, err
		}
		pages = append(pages, messages)
		limit -= len(messages)
		if limit <= 0 || !more || len(messages) == 0 || messages[0].Seq <= 1 {
			slices.Reverse(pages)
			return slices.Concat(pages...), nil
		}
		from = messages[0].Seq - 1
	}
}

// HistoryAfter returns up to limit messages after seq after, as History does;
// there are fewer only where the conversation ends.
func (c *Client) HistoryAfter(ctx context.Context, conversation string, after uint64, limit int) ([]Message, error) {
	return c.forward(ctx, &pb.Pull{Conversation: conversation, From: after + 1}, limit)
}

// HistoryFrom returns up to limit messages that the server stored at or after a
// time, the first ones, as HistoryAfter does.
func (c *Client) HistoryFrom(ctx context.Context, conversation string, from time.Time, limit int) ([]Message, error) {
	return c.forward(ctx, &pb.Pull{Conversation: conversation, FromTimeMs: max(from.UnixMilli(), 1)}, limit)
}

func (c *Client) forward(ctx context.Context, pull *pb.Pull, limit int) (all []Message, err error) {
	if err := checkConversation(pull.Conversation); err != nil {
		return nil, fmt.Errorf("godwit: history: %w", err)
	}
	for limit > len(all) {
		pull.Limit = uint32(min(limit-len(all), pullLimit))
		messages, more, err := c.pull(ctx, pull)
		if CodeOf(err) == pb.Code_CODE_SEQ_OUT_OF_RANGE {
			break // there is nothing after it
		}
		if err != nil {
			return nil, err
		}
		all = append(all, messages...)
		if !more || len(messages) == 0 {
			break
		}
		pull = &pb.Pull{Conversation: pull.Conversation, From: messages[len(messages)-1].Seq + 1}
	}
	return all, nil
}

// HistoryAround returns about limit messages, half of them up to seq and half
// after it, in seq order. It asks once, so that a limit of more than 200, or
// large messages, may bring fewer on both sides.
func (c *Client) HistoryAround(ctx context.Context, conversation string, seq uint64, limit int) ([]Message, error) {
	if limit <= 0 {
		return nil, nil
	}
	if err := checkConversation(conversation); err != nil {
		return nil, fmt.Errorf("godwit: history: %w", err)
	}
	messages, _, err := c.pull(ctx, &pb.Pull{
		Conversation: conversation, From: seq, Around: true, Limit: uint32(min(limit, pullLimit)),
	})
	return messages, err
}

// pull asks for a page.
func (c *Client) pull(ctx context.Context, pull *pb.Pull) (messages []Message, more bool, err error) {
	answer, err := c.ask(ctx, protocol.TypePull, pull)
	if err != nil {
		return nil, false, err
	}
	page := answer.(*pb.Pulled)
	messages = make([]Message, len(page.Messages))
	now := c.ServerTime()
	for i, wire := range page.Messages {
		messages[i] = fromWire(wire)
		messages[i].expire(now)
	}
	return messages, page.More, nil
}

// ServerTime is the server's clock, as far as it is known.
func (c *Client) ServerTime() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.account.skew)
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
