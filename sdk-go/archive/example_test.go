package archive_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/archive"
)

// An application puts what its client hands it into the archive, and finds it
// there without a connection.
func Example() {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	a, err := archive.Open(ctx, filepath.Join(dir, "messages.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()

	handler := godwit.Handler{ // of godwit.Options
		OnMessage:        func(m godwit.Message) { err = a.Put(ctx, m) },
		OnMessageChanged: func(c godwit.MessageChange) { err = a.Change(ctx, c) },
	}
	handler.OnMessage(godwit.Message{
		Conversation: "d:alice:bob", Seq: 1, Sender: "alice", Time: time.UnixMilli(1_790_000_000_000),
		Kind: godwit.KindText, Body: []byte("The ferry leaves at nine"),
	})
	edit := godwit.Message{
		Conversation: "d:alice:bob", Seq: 2, Sender: "alice", Time: time.UnixMilli(1_790_000_060_000),
		Kind: godwit.KindEdit, Target: 1, Body: []byte("The ferry leaves at ten"),
	}
	handler.OnMessageChanged(edit.Change())
	if err != nil {
		fmt.Println(err)
		return
	}

	hits, err := a.Search(ctx, archive.Query{Text: "ferry", Conversation: "d:alice:bob"})
	if err != nil {
		fmt.Println(err)
		return
	}
	marks := strings.NewReplacer(archive.Start, "[", archive.End, "]")
	for _, hit := range hits {
		fmt.Printf("#%d %s: %s\n", hit.Message.Seq, hit.Message.Sender, marks.Replace(hit.Snippet))
	}
	// Output:
	// #1 alice: The [ferry] leaves at ten
}
