package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/godwit-im/godwit/sdk-go"
)

// The demo must notice whatever could go wrong.
func TestVerifyCatches(t *testing.T) {
	const n = 10
	var sent []outgoing
	var good []godwit.Message
	for i := range uint64(n) {
		text := fmt.Sprintf("message %d", i)
		sent = append(sent, outgoing{text: text, ack: godwit.Ack{Seq: i + 2, ID: 1000 + i}})
		good = append(good, godwit.Message{Seq: i + 2, ID: 1000 + i, Kind: godwit.KindText, Body: []byte(text)})
	}
	if err := verify(sent, good); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func([]godwit.Message) []godwit.Message{
		"nothing":        func([]godwit.Message) []godwit.Message { return nil },
		"one lost":       func(m []godwit.Message) []godwit.Message { return slices.Delete(m, 4, 5) },
		"the last lost":  func(m []godwit.Message) []godwit.Message { return m[:n-1] },
		"one twice":      func(m []godwit.Message) []godwit.Message { return slices.Insert(m, 5, m[4]) },
		"the last twice": func(m []godwit.Message) []godwit.Message { return append(m, m[n-1]) },
		"two swapped":    func(m []godwit.Message) []godwit.Message { m[3], m[4] = m[4], m[3]; return m },
		"another seq":    func(m []godwit.Message) []godwit.Message { m[n-1].Seq++; return m },
		"another id":     func(m []godwit.Message) []godwit.Message { m[0].ID++; return m },
		"another text":   func(m []godwit.Message) []godwit.Message { m[2].Body = []byte("message X"); return m },
	} {
		if verify(sent, harm(slices.Clone(good))) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
