package protocol

import "google.golang.org/protobuf/encoding/protowire"

// SizeStored is how much AppendStored appends for a message whose encoding is
// n bytes long.
func SizeStored(n int) int {
	return protowire.SizeTag(1) + protowire.SizeBytes(n)
}

// AppendStored appends one element of Pulled.messages to dst: a stored
// message, given by its encoding, which is copied as it is. A run of them
// followed by the encoding of a Pulled that has only its other fields is the
// encoding of the whole Pulled.
func AppendStored(dst, wire []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, 1, protowire.BytesType), wire)
}
