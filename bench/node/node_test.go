package node

import (
	"net"
	"testing"
)

// TestFreeAddr has the port be listened on, and nobody else who looks for one
// get it, a server there or not.
func TestFreeAddr(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve(addr); err == nil {
		t.Error("the port was given twice before anybody listened on it")
	}
	for range 2 {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := reserve(addr); err == nil {
		t.Error("the port was given twice while the server was down")
	}
}
