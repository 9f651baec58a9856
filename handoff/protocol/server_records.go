package protocol

// record takes one line of records. Nothing is answered: what is wrong is told at PREPARE.
func (d *dest) record(c *controlConn, m Message, raw []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tx == "" || d.owner != c || c.s.table.get(d.tx).dest != DestStaging {
		return // PREPARE will say that there is no such transaction
	}
	d.tally.Add(m.Verb, raw)
	if d.fault != nil {
		return
	}
	if d.bytes += len(raw); d.bytes > c.s.cfg.MaxBytes {
		d.fault = &Error{Code: CodeLimit, Text: "the records are over the limit"}
	} else if rec, done, err := d.joiner.Add(m, len(raw)); err != nil {
		d.fault = asError(err)
	} else if done {
		d.fault = d.takeLocked(rec, c.s.cfg.MaxUsers)
	}
	if d.fault != nil {
		d.records = nil
	}
}

// takeLocked checks one whole record against those before it.
func (d *dest) takeLocked(m Message, maxUsers int) *Error {
	if err := Validate(m); err != nil {
		return asError(err)
	}
	switch m.Verb {
	case VerbChan:
		if _, twice := d.channels[m.Get("n")]; twice {
			return badRecord(m, "CHAN twice")
		}
		d.channels[m.Get("n")] = struct{}{}
	case VerbUser:
		if _, twice := d.users[m.Get("u")]; twice {
			return badRecord(m, "USER twice")
		}
		if len(d.users) == maxUsers {
			return &Error{Code: CodeLimit, Text: "over maxusers"}
		}
		for _, key := range [...]string{"in", "out", "rq", "sq"} {
			if m.Has(key) {
				return badRecord(m, "USER "+key+" is the coordinator's")
			}
		}
		d.users[m.Get("u")] = struct{}{}
	case VerbMemb:
		if _, ok := d.users[m.Get("u")]; !ok {
			return badRecord(m, "MEMB before its USER")
		}
		fallthrough
	case VerbList:
		if _, ok := d.channels[m.Get("c")]; !ok {
			return badRecord(m, m.Verb+" before its CHAN")
		}
	}
	if m.Verb == VerbLink || m.Verb == VerbBurst || m.Verb == VerbRemote {
		if err := d.takeLinkLocked(m); err != nil {
			return err
		}
	}
	d.records = append(d.records, m)
	return nil
}

// recordWriter writes the records of an export.
type recordWriter struct {
	c      *controlConn
	tally  Tally
	failed bool // of the connection
}

func (w *recordWriter) emit(m Message) error {
	c := w.c
	var err error
	c.scratch, err = AppendRecord(c.scratch[:0], m, MaxLine, &w.tally)
	if err != nil {
		return err
	}
	if c.s.cfg.Intercept != nil {
		m = m.Clone()
		pass, end := c.s.intercept(Sending, &m)
		if end {
			w.failed = true
			return errEnd
		}
		if !pass {
			return nil
		}
		if c.scratch, err = AppendRecord(c.scratch[:0], m, MaxLine, nil); err != nil {
			return err
		}
	}
	if _, err := c.out.Write(c.scratch); err != nil {
		w.failed = true
		return errEnd
	}
	return nil
}

func (w *recordWriter) end(unmovable int, unheld []string) End {
	return End{Channels: w.tally.Channels, Users: w.tally.Users, Unmovable: unmovable, Links: w.tally.Links, Unheld: unheld,
		Records: w.tally.Records, Sum: w.tally.Sum}
}
