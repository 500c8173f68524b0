package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// maxPause bounds the time between two changes that a user makes for themselves.
const maxPause = 120 * time.Millisecond

// arrange makes the client's user change what their conversations are to them, for
// one life, until the fleet stops writing: how they are shown, which messages they
// still have, who their contacts are. What only one client may set, for the journal
// to tell what was set last, the phone does.
func (c *client) arrange(ctx context.Context, sdk *godwit.Client, rng *rand.Rand) {
	c.fleet.writers.Add(1)
	defer c.fleet.writers.Add(-1)
	for c.fleet.writing.Load() && rest(ctx, rng, maxPause) {
		conversation := c.conversations[rng.IntN(len(c.conversations))]
		var err error
		switch n := rng.IntN(12); {
		case n < 3:
			if seq := c.someSeq(conversation, rng); seq > 0 {
				_, err = sdk.Delete(conversation, seq).Wait(ctx)
			}
		case n == 3:
			if rng.IntN(4) > 0 {
				continue
			}

			if seq := c.someSeq(conversation, rng); seq > 0 {
				_, err = sdk.Clear(conversation, seq).Wait(ctx)
			}
		case n < 6 && c.device == phone:
			flip := func() *bool { return new(rng.IntN(2) == 0) }
			_, err = sdk.SetSettings(conversation, godwit.SettingsChange{
				Pinned: flip(), Muted: flip(), Archived: flip(), Draft: new(fmt.Sprint("draft ", rng.Uint64())),
			}).Wait(ctx)
		case c.device == phone:
			if peer, direct := protocol.Peer(conversation, c.user); direct {
				err = c.acquaint(ctx, sdk, peer, rng)
			}
		}
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, godwit.ErrClosed), isRefusal(godwit.CodeOf(err)):
		default:
			c.fleet.fail(fmt.Errorf("%s: in %s: %w", c.name(), conversation, err))
		}
	}
}

// acquaint changes what peer is to the user, now and then in a way that is refused.
// Only with one user is there blocking, for it silences them.
func (c *client) acquaint(ctx context.Context, sdk *godwit.Client, peer string, rng *rand.Rand) error {
	var call *godwit.Call[godwit.Contact]
	switch n := rng.IntN(10); {
	case n == 0:
		call = sdk.Remark(peer, fmt.Sprint("remark ", rng.Uint64()))
	case n < 3 && (peer == blocked || c.user == blocked):
		if block := rng.IntN(3) == 0; block {
			call = sdk.Block(peer)
		} else {
			call = sdk.Unblock(peer)
		}
	case n < 6:
		call = sdk.RequestContact(peer, fmt.Sprint("request ", rng.Uint64()))
	case n < 8:
		call = sdk.AcceptContact(peer)
	case n == 8:
		call = sdk.RefuseContact(peer)
	default:
		call = sdk.RemoveContact(peer)
	}
	_, err := call.Wait(ctx)
	return err
}

// someSeq is that of one of the last messages of a conversation that the client was
// handed; 0 if there is none.
func (c *client) someSeq(conversation string, rng *rand.Rand) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.recent[conversation].targets
	if len(all) == 0 {
		return 0
	}
	return all[rng.IntN(len(all))].seq
}
