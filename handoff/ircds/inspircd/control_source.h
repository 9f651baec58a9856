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


// Verbs of a source (HANDOFF.md, section 6), and the world that stands still.

#pragma once

namespace Handoff
{
	inline void Control::Select(const Line& line)
	{
		if (line.Has("link"))
			return SelectLink(line);
		Selection s;
		s.u = line.Get("u");
		if (selfault)
			return;
		if (!IsStreamID(s.u) || !ToNumber(line.Get("in"), s.in))
			selfault = Fault("bad-value", "SELECT: u or in make no sense");
		else if (!selected.insert(s.u).second)
			selfault = Fault("bad-value", "SELECT: the same u twice", s.u);
		else if (selection.size() >= 1000000)
			selfault = Fault("limit", "too many SELECT");
		else
			selection.push_back(s);
	}

	inline void Control::SelectLink(const Line& line)
	{
		HeldLink l;
		l.name = line.Get("link");
		l.sid = line.Get("sid");
		if (selfault)
			return;
		if (!IsWord(l.name) || !InspIRCd::IsSID(l.sid) || !ToNumber(line.Get("proto"), l.proto) || !SpeaksProtocol(l.proto))
			selfault = Fault("bad-value", "SELECT link: no name, no id, or a protocol that is not spoken here");
		else if (std::any_of(links.begin(), links.end(), [&](const HeldLink& other) { return other.name == l.name; }))
			selfault = Fault("bad-value", "SELECT: the same link twice");
		else if (links.size() >= 1000)
			selfault = Fault("limit", "too many SELECT");
		else
			links.push_back(l);
	}

	inline void Control::ForgetSelection()
	{
		links.clear();
		selection.clear();
		selected.clear();
		selfault = Fault();
	}

	inline void Control::Export(const Line& line)
	{
		std::vector<Selection> sel;
		std::vector<HeldLink> held;
		sel.swap(selection);
		held.swap(links);
		const Fault fault = selfault;
		ForgetSelection();
		const std::string tx = line.Get("tx");
		uint64_t ms = 0;
		if (fault)
			return Error(fault, tx);
		if (!line.Has("peek") && (!ToNumber(line.Get("freeze"), ms) || ms == 0 || ms > 60000))
			return Error(Fault("bad-value", "EXPORT freeze: not within 1 ms and 60 s"), tx);
		if (!hub.exporttx.empty())
			return Error(Fault("busy", "another export is open"), tx);
		if (Look(tx).source != "unknown")
			return Error(Fault("state", "the tx was exported before"), tx);
		LinkSockets sockets(held.empty() ? std::unordered_set<EventHandler*>() : hub.NoLinks());
		if (!held.empty() && !line.Has("peek"))
			sockets.Settle();
		const LinkDump dump(hub.network, held, hub.world.epoch);
		const Fault unknown = dump.Check();
		if (unknown)
			return Error(unknown, tx);
		if (line.Has("peek"))
			return Records(tx, dump, &sel);

		const uint64_t begin = Now(), deadline = begin + ms, soon = std::min(deadline, begin + 1000);
		Fault behind = hub.source.Freeze(sel, soon);
		if (!behind && !held.empty())
		{
			sockets.Mark(tx);
			if (!sockets.Write(soon))
				behind = Fault("behind", "a linked server does not take what is said to it, or has gone");
		}
		if (behind)
		{
			hub.source.Resume();
			return Error(behind, tx);
		}
		hub.exporttx = tx;
		hub.exportlinks.clear();
		for (const HeldLink& l : held)
			hub.exportlinks.append(hub.exportlinks.empty() ? "" : " ").append(l.name);
		hub.world.transactions.Note(tx).source = "frozen";
		Records(tx, dump, nullptr);
		Note("Exported", tx, hub.source.Count(), begin);
		StandStill(deadline);
	}

	inline void Control::Records(const std::string& tx, const LinkDump& dump, const std::vector<Selection>* peek)
	{
		Tally tally;
		hub.source.Export(out, tally, dump, peek, [this] { // in blocks, so that the other end reads while more are made
			if (out.length() >= 32768)
				Flush();
		});
		Line end("END");
		end.Add("tx", tx).Add("channels", tally.channels).Add("users", tally.users).Add("unmovable", hub.world.Unmovable(coordinator));
		const unsigned int remain = peek ? 0 : hub.source.Remain(coordinator);
		if (remain)
			end.Add("remain", remain);
		if (tally.links)
			end.Add("links", tally.links);
		end.Set("unheld", dump.Unheld());
		Send(end.Add("records", tally.records).Add("sum", tally.sum.Hex()));
	}

	/** Nothing runs but this connection until the export is at its end. */
	inline void Control::StandStill(uint64_t deadline)
	{
		bool written = FlushAll(deadline);
		while (!hub.exporttx.empty())
		{
			while (written && !hub.exporttx.empty() && !ended && NextLine())
				written = FlushAll(deadline);
			if (hub.exporttx.empty())
				return;
			const uint64_t now = Now();
			if (!written || gone || ended || now >= deadline)
				return hub.Thaw();
			struct pollfd p = { GetFd(), POLLIN, 0 };
			const uint64_t left = deadline - now;
			poll(&p, 1, GetIOHook() ? std::min<uint64_t>(left, 5) : left); // TLS may hold bytes that poll does not know of
			if (p.revents)
				Unblock();
			if (p.revents || GetIOHook())
				ReadOn();
		}
	}

	inline void Control::Release(const Line& line)
	{
		const std::string& tx = line.Get("tx");
		if (hub.exporttx == tx)
		{
			hub.world.transactions.Note(tx).source = "released";
			hub.exporttx.clear();
			const uint64_t begin = Now();
			const size_t users = hub.source.Count();
			hub.home.Released(tx, users, hub.exportlinks); // before anybody can end the process
			Answer("RELEASED", tx);
			FlushAll(begin + 1000); // everybody waits for it, and nobody for the rest
			hub.source.Release(line.Get("quit"));
			return Note("Released", tx, users, begin);
		}
		const std::string state = Look(tx).source;
		if (state == "released")
			Answer("RELEASED", tx);
		else if (state == "resumed")
			Error(Fault("resumed", "the world went on"), tx);
		else
			Error(Fault("unknown-tx", "never exported here"), tx);
	}

	inline void Control::Resume(const Line& line)
	{
		const std::string& tx = line.Get("tx");
		const std::string state = Look(tx).source;
		if (hub.exporttx == tx)
			hub.Thaw();
		else if (state == "released")
			return Error(Fault("released", "the users are forgotten"), tx);
		else if (state == "unknown")
			hub.world.transactions.Note(tx).source = "resumed"; // a fence: an EXPORT of it that comes late is refused
		Answer("RESUMED", tx);
	}
}
