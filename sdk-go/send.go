package godwit

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
)

// Send puts a message into the outbox and returns a handle on it. It returns
// once the Store has it, connected or not, and the message is sent, and sent
// again with the same client message id, until the server has answered. The
// messages of one conversation are stored in the order of their Sends.
//
// The draft is copied. ErrOutboxFull and ErrClosed say that the message was
// not accepted, and a *protocol.Error that it never could be. If ctx ends
// while the Store is writing, Send returns both the handle and ctx's error:
// the message is accepted and will be sent, but it is not certain yet that it
// would outlive the process.
func (c *Client) Send(ctx context.Context, conversation string, d Draft, options ...SendOption) (*Outgoing, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, option := range options {
		option(&d)
	}
	o, err := c.queue(conversation, d)
	if err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		stored, saved := o.inStore, c.savedBell
		c.mu.Unlock()
		if stored {
			return o, nil
		}
		if err := await(ctx, c, saved); err != nil {
			if ctx.Err() != nil {
				return o, err
			}
			return nil, err
		}
	}
}

// SendText sends text to a user, in their direct conversation, or to a
// conversation: which, to says by its form.
func (c *Client) SendText(ctx context.Context, to, text string, options ...SendOption) (*Outgoing, error) {
	return c.sendTo(ctx, to, Draft{Kind: KindText, Body: []byte(text)}, options)
}

// SendCustom sends a body that the server does not look into, to a user or a
// conversation as SendText does.
func (c *Client) SendCustom(ctx context.Context, to, contentType string, body []byte, options ...SendOption) (*Outgoing, error) {
	return c.sendTo(ctx, to, Draft{Kind: KindCustom, ContentType: contentType, Body: body}, options)
}

// SendMedia sends the metadata of an object, which is uploaded already, to a
// user or a conversation as SendText does.
func (c *Client) SendMedia(ctx context.Context, to string, media Media, options ...SendOption) (*Outgoing, error) {
	d, err := mediaDraft(media)
	if err != nil {
		return nil, fmt.Errorf("godwit: send: %w", err)
	}
	return c.sendTo(ctx, to, d, options)
}

func mediaDraft(media Media) (Draft, error) {
	body, err := proto.Marshal(media.toWire())
	return Draft{Kind: KindMedia, Body: body}, err
}

func (c *Client) sendTo(ctx context.Context, to string, d Draft, options []SendOption) (*Outgoing, error) {
	if !strings.Contains(to, ":") {
		if err := protocol.CheckID("user", to); err != nil {
			return nil, fmt.Errorf("godwit: send: %w", err)
		}
		to = protocol.DirectID(c.User(), to)
	}
	return c.Send(ctx, to, d, options...)
}

// Edit gives the user's own message at seq another body; the ContentType goes
// along where the message has one. Like Send it returns once the Store has it,
// and the Ack's seq is that of the event: the message keeps its own.
//
// The only options that it takes are mentions, which replace those that the
// message has.
func (c *Client) Edit(ctx context.Context, conversation string, seq uint64, contentType string, body []byte, options ...SendOption) (*Outgoing, error) {
	return c.Send(ctx, conversation, Draft{Kind: KindEdit, Target: seq, ContentType: contentType, Body: body}, options...)
}

// EditText gives the user's own KindText message at seq another text, as Edit
// does.
func (c *Client) EditText(ctx context.Context, conversation string, seq uint64, text string, options ...SendOption) (*Outgoing, error) {
	return c.Edit(ctx, conversation, seq, "", []byte(text), options...)
}

// EditMedia gives the user's own KindMedia message at seq other media, as Edit
// does.
func (c *Client) EditMedia(ctx context.Context, conversation string, seq uint64, media Media, options ...SendOption) (*Outgoing, error) {
	d, err := mediaDraft(media)
	if err != nil {
		return nil, fmt.Errorf("godwit: edit: %w", err)
	}
	return c.Edit(ctx, conversation, seq, "", d.Body, options...)
}

// Recall takes the message at seq back, for everybody: one's own for a while,
// those of others as an admin. Like Send it returns once the Store has it.
func (c *Client) Recall(ctx context.Context, conversation string, seq uint64) (*Outgoing, error) {
	return c.Send(ctx, conversation, Draft{Kind: KindRecall, Target: seq})
}

// React gives a reaction to the message at seq, say a smiley, of at most
// protocol.MaxReaction bytes. Like Send it returns once the Store has it. If the
// user has given it before, nothing happens.
func (c *Client) React(ctx context.Context, conversation string, seq uint64, key string) (*Outgoing, error) {
	return c.Send(ctx, conversation, Draft{Kind: KindReaction, Target: seq, Body: []byte(key)})
}

// Unreact takes a reaction of the user back, as React gives it.
func (c *Client) Unreact(ctx context.Context, conversation string, seq uint64, key string) (*Outgoing, error) {
	return c.Send(ctx, conversation, Draft{Kind: KindReaction, Target: seq, Body: []byte(key), Remove: true})
}
