package protocol

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The hand-written codec of the messages that every chat message passes
// through: SEND in, SENT and MESSAGE out, and PULLED made of stored bytes. It
// produces the bytes that proto.Marshal does: fields in number order, those
// with their zero value left out, unknown ones last. The generated codec
// serves all else.

func appendString(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), s)
}

func appendBytes(dst []byte, num protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), b)
}

// appendVarint appends any of the integer, bool and enum types; the signed
// ones as the two's complement of 64 bits.
func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

// sizeBytes is what appendString and appendBytes append for n bytes.
func sizeBytes(num protowire.Number, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(n)
}

// sizeVarint is what appendVarint appends.
func sizeVarint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func appendBool(dst []byte, num protowire.Number, v bool) []byte {
	if !v {
		return dst
	}
	return append(protowire.AppendTag(dst, num, protowire.VarintType), 1)
}

func sizeBool(num protowire.Number, v bool) int {
	if !v {
		return 0
	}
	return protowire.SizeTag(num) + 1
}

// appendStrings appends a repeated string, whose elements may be empty.
func appendStrings(dst []byte, num protowire.Number, all []string) []byte {
	for _, s := range all {
		dst = protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), s)
	}
	return dst
}

func sizeStrings(num protowire.Number, all []string) (n int) {
	for _, s := range all {
		n += protowire.SizeTag(num) + protowire.SizeBytes(len(s))
	}
	return n
}

// consumeString is protowire.ConsumeBytes for a proto3 string, which has to be
// UTF-8: n is negative where it isn't.
func consumeString(b []byte) (s []byte, n int) {
	s, n = protowire.ConsumeBytes(b)
	if n >= 0 && !utf8.Valid(s) {
		return nil, -1
	}
	return s, n
}
