package chat

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// BenchmarkEmbedded sends messages of 256 bytes through a log to a sink that
// counts, on a real disk with synced commits: submit, apply, sync, outcome. So
// many messages are in flight at a time, in a thousand conversations.
func BenchmarkEmbedded(b *testing.B) {
	for _, inFlight := range []int{64, 512, 4096} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			o := msgstore.DefaultOptions()
			o.Dir = b.TempDir()
			o.MinFree = 0
			o.Logger = discard
			store := openStore(b, o)
			cfg := DefaultConfig()
			cfg.Logger = discard
			free := make(chan struct{}, inFlight)
			var done atomic.Int64
			finished := make(chan struct{})
			e := startLog(b, cfg, store, sinkFunc(func(outcomes []Outcome) {
				for i := range outcomes {
					if outcomes[i].Result.Err != nil {
						b.Error(outcomes[i].Result.Err)
					}
					<-free
				}
				if done.Add(int64(len(outcomes))) == int64(b.N) {
					close(finished)
				}
			}))
			users := make([]string, 1000)
			conversations := make([]string, len(users))
			for i := range users {
				users[i] = fmt.Sprintf("user-%d", i)
				conversations[i] = protocol.DirectID(users[i], "peer")
			}
			body := make([]byte, 256)
			for i := range body {
				body[i] = byte('a' + i%26)
			}
			b.ReportAllocs()
			began := time.Now()
			b.ResetTimer()
			for i := range b.N {
				free <- struct{}{}
				p := &Proposal{Command: Command{
					Op: OpSend, User: users[i%1000], Conversation: conversations[i%1000],
					ClientID: fmt.Sprintf("%016x", i), Kind: pb.Kind_KIND_TEXT, Body: body,
				}}
				if err := e.Submit(p); err != nil {
					b.Fatal(err)
				}
			}
			<-finished
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "msgs/s")
			st := e.Stats()
			b.ReportMetric(float64(st.Commands)/float64(st.Batches), "msgs/batch")
		})
	}
}
