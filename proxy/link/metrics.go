package link

import "time"

// metrics are those of a Set.
type metrics struct{}

func (m *metrics) replayed(p *port, err error) {}

func (m *metrics) away(p *port, d time.Duration) {}
