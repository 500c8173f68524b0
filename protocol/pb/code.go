package pb

import "strings"

// Name is the code's name as the documentation writes it, "BUSY".
func (c Code) Name() string {
	return strings.TrimPrefix(c.String(), "CODE_")
}

// Retryable reports whether the same request, or the same connection attempt,
// may succeed later without anything being changed.
func (c Code) Retryable() bool {
	switch c {
	case Code_CODE_CONNECT_TIMEOUT, Code_CODE_TOO_MANY_DEVICES, // the other devices' sessions end
		Code_CODE_HEARTBEAT_TIMEOUT, Code_CODE_SLOW_CONSUMER, Code_CODE_DRAINING,
		Code_CODE_BUSY, Code_CODE_RATE_LIMITED, Code_CODE_TOO_MANY_CONNECTIONS,
		Code_CODE_TOO_MANY_IN_FLIGHT, Code_CODE_STORAGE_FULL, Code_CODE_INTERNAL:
		return true
	}
	return false
}

// NeedsToken reports whether a client may go on once it has a new token.
func (c Code) NeedsToken() bool {
	return c == Code_CODE_TOKEN_EXPIRED
}
