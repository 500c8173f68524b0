package protocol

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxTraceText is how many bytes of a string or of a message's content a trace
// quotes.
const maxTraceText = 256

// String is the trace of f in which byte fields are shown as their lengths.
func (f Frame) String() string {
	return string(AppendTrace(nil, f, false))
}

// AppendTrace appends one line about f, for people and without a line feed, to
// dst: the type, the request id and the fields in number order, those with
// their zero value left out. With contents it quotes the byte fields, what
// people wrote to each other among them; without, it shows their lengths.
// Fields that im.proto marks with debug_redact, the tokens, are never shown.
// testdata/README.md has the grammar.
func AppendTrace(dst []byte, f Frame, contents bool) []byte {
	dst = append(dst, f.Type.String()...)
	dst = append(dst, " #"...)
	dst = strconv.AppendUint(dst, uint64(f.Request), 10)
	m := f.Type.NewBody()
	switch {
	case m == nil && len(f.Body) == 0:
		return dst
	case m == nil:
		return appendLength(append(dst, ' '), "", len(f.Body))
	case proto.Unmarshal(f.Body, m) != nil:
		return appendLength(append(dst, ' '), "malformed ", len(f.Body))
	}
	return appendFields(dst, " ", m.ProtoReflect(), contents)
}

// appendFields puts lead before the first field and a space before the others.
func appendFields(dst []byte, lead string, m protoreflect.Message, contents bool) []byte {
	fields := m.Descriptor().Fields() // in the order of im.proto, which is that of the numbers
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		dst = append(dst, lead...)
		lead = " "
		dst = append(dst, fd.Name()...)
		dst = append(dst, '=')
		if !fd.IsList() {
			dst = appendValue(dst, fd, m.Get(fd), contents)
			continue
		}
		dst = append(dst, '[')
		for j, list := 0, m.Get(fd).List(); j < list.Len(); j++ {
			if j > 0 {
				dst = append(dst, ' ')
			}
			dst = appendValue(dst, fd, list.Get(j), contents)
		}
		dst = append(dst, ']')
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		dst = append(dst, lead...)
		dst = appendLength(dst, "unknown ", len(unknown))
	}
	return dst
}

func appendValue(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, contents bool) []byte {
	if redacted(fd) {
		return append(dst, "<redacted>"...)
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		dst = append(dst, '{')
		dst = appendFields(dst, "", v.Message(), contents)
		return append(dst, '}')
	case protoreflect.StringKind:
		return appendQuoted(dst, v.String())
	case protoreflect.BytesKind:
		if !contents {
			return appendLength(dst, "", len(v.Bytes()))
		}
		return appendQuoted(dst, string(v.Bytes()))
	case protoreflect.EnumKind:
		if value := fd.Enum().Values().ByNumber(v.Enum()); value != nil {
			return append(dst, value.Name()...)
		}
		return strconv.AppendInt(dst, int64(v.Enum()), 10)
	default:
		return fmt.Append(dst, v.Interface())
	}
}

func redacted(fd protoreflect.FieldDescriptor) bool {
	options, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && options.GetDebugRedact()
}

// appendQuoted quotes at most maxTraceText bytes of s, so that the result is
// printable ASCII that means the same in every language.
func appendQuoted(dst []byte, s string) []byte {
	rest := 0
	if len(s) > maxTraceText {
		s, rest = s[:maxTraceText], len(s)-maxTraceText
	}
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case ' ' <= c && c <= '~':
			dst = append(dst, c)
		default:
			dst = fmt.Appendf(dst, `\x%02x`, c)
		}
	}
	dst = append(dst, '"')
	if rest > 0 {
		dst = append(dst, '+')
		dst = strconv.AppendInt(dst, int64(rest), 10)
	}
	return dst
}

func appendLength(dst []byte, what string, n int) []byte {
	return fmt.Appendf(dst, "<%s%d bytes>", what, n)
}
