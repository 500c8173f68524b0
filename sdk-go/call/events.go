package call

// tell has a callback run.
func (cs *Calls) tell(f func(*Handler)) {
	cs.events = append(cs.events, f)
	select {
	case cs.bell <- struct{}{}:
	default:
	}
}

// hand has a payload handed over.
func (cs *Calls) hand(c *Call, payload []byte) {
	if len(cs.events) < maxEvents {
		cs.tell(func(h *Handler) {
			if h.OnPayload != nil {
				h.OnPayload(c, payload)
			}
		})
	}
}

// run runs the callbacks.
func (cs *Calls) run() {
	defer close(cs.done)
	for {
		cs.deliver()
		select {
		case <-cs.bell:
		case <-cs.quit:
			cs.deliver()
			return
		}
	}
}

// deliver runs those that wait.
func (cs *Calls) deliver() {
	for {
		cs.mu.Lock()
		events := cs.events
		cs.events = nil
		cs.mu.Unlock()
		if len(events) == 0 {
			return
		}
		for _, f := range events {
			f(&cs.handler)
		}
	}
}
