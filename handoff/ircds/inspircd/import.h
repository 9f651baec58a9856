/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */

// An import on its way (HANDOFF.md, section 7): its records as they come, its streams, its lease.

#pragma once

namespace Handoff
{
	class Control;
	class StreamSock;

	struct Import
	{
		const std::string tx, tok;
		const Control* owner;       // who may send records; nullptr: it is gone
		const uint64_t over;        // end of the lease
		const bool links;           // server links come too: nobody else registers
		std::map<std::string, StreamSock*> attached;
		Destination dest;
		std::set<std::string> users;

		Import(World& world, const std::string& Tx, const std::string& Tok, const Control* Owner, uint64_t Over, bool Links, const std::string& kick)
			: tx(Tx), tok(Tok), owner(Owner), over(Over), links(Links), dest(world, Links, kick), settings(world.settings), bytes(0)
		{
		}

		/** Takes one line of records. What is wrong is told at PREPARE; the first fault counts. */
		void Add(Line&& line, std::string_view raw)
		{
			tally.Add(line.verb, raw);
			if (fault)
				return;
			bytes += raw.length();
			Line whole;
			bool done = false;
			if (bytes > settings.maxbytes)
				fault = Fault("limit", "the records are over the limit");
			else
				fault = joiner.Add(std::move(line), raw.length(), done, whole);
			if (!fault && done)
				fault = Take(whole);
			if (fault)
				records.clear();
		}

		/** All records are there. */
		Fault End(const Line& prepare)
		{
			Line whole;
			if (joiner.Flush(whole) && !fault)
				fault = Take(whole);
			uint64_t n;
			const std::string& sum = prepare.Get("sum");
			if (fault)
				return fault;
			if (!prepare.Has("records") || !ToNumber(prepare.Get("records"), n) || sum.length() != 8)
				return Fault("bad-value", "PREPARE: records or sum make no sense");
			if (n != tally.records)
				return Fault("count", "PREPARE tells " + prepare.Get("records") + " records, " + ConvToStr(tally.records) + " came");
			if (sum != tally.sum.Hex())
				return Fault("sum", "PREPARE tells another sum than that of the records");
			dest.Take(records);
			return Fault();
		}

	 private:
		const Settings& settings;
		Joiner joiner;
		Tally tally;
		size_t bytes;
		std::vector<Line> records;
		std::set<std::string> channels, linknames;
		std::set<std::pair<std::string, std::string> > members;
		Fault fault;

		/** Checks one whole record against those before it. */
		Fault Take(Line& m)
		{
			Fault bad = Validate(m);
			if (bad)
				return bad;
			if (m.verb == "CHAN")
			{
				if (!channels.insert(m.Get("n")).second)
					return BadRecord(m, "CHAN twice");
			}
			else if (m.verb == "USER")
			{
				if (users.size() >= settings.maxusers)
					return Fault("limit", "over maxusers");
				static const char* const cut[] = { "in", "out", "rq", "sq" };
				for (int i = 0; i < 4; ++i)
					if (m.Has(cut[i]))
						return BadRecord(m, std::string("USER ") + cut[i] + " is the coordinator's");
				if (!users.insert(m.Get("u")).second)
					return BadRecord(m, "USER twice");
			}
			else if (m.verb == "LINK")
			{
				if (!links)
					return BadRecord(m, "LINK, and IMPORT told no links");
				if (!linknames.insert(m.Get("n")).second)
					return BadRecord(m, "LINK twice");
			}
			else if (m.verb == "REMOTE")
			{
				if (!linknames.count(m.Get("l")))
					return BadRecord(m, "REMOTE before its LINK");
			}
			else
			{
				if (m.verb == "MEMB" && !users.count(m.Get("u")))
					return BadRecord(m, "MEMB before its USER");
				if (!channels.count(m.Get("c")))
					return BadRecord(m, m.verb + " before its CHAN");
				if (m.verb == "MEMB" && !members.insert(std::make_pair(m.Get("u"), m.Get("c"))).second)
					return BadRecord(m, "MEMB twice");
			}
			records.push_back(std::move(m));
			return Fault();
		}
	};
}
