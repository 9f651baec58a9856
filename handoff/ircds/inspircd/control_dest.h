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


// Verbs of a destination (HANDOFF.md, section 7).

#pragma once

namespace Handoff
{
	inline void Control::Begin(const Line& line)
	{
		const std::string& tx = line.Get("tx");
		uint64_t lease;
		if (!ToNumber(line.Get("lease"), lease) || lease == 0 || lease > 3600)
			return Error(Fault("bad-value", "IMPORT lease: not within 1 s and 1 h"), tx);
		if (!IsHex32(line.Get("tok")))
			return Error(Fault("bad-value", "IMPORT tok: not 32 lower-case hex digits"), tx);
		if (!IsOneLine(line.Get("kick")))
			return Error(Fault("bad-value", "IMPORT kick: not one line"), tx);
		const std::string dest = Look(tx).dest;
		if (dest != "unknown" && dest != "aborted")
			return Error(Fault("state", "the tx is " + dest + " here"), tx);
		if (hub.import)
			return Error(Fault("busy", "another import is open"), tx);
		if (hub.world.closing)
			return Error(Fault("refused", "shutting down"), tx);
		hub.import = new Import(hub.world, tx, line.Get("tok"), this, Now() + lease * 1000, line.Has("links"), line.Get("kick"));
		if (hub.import->links)
			hub.home.Importing(true);
		hub.world.transactions.Note(tx).dest = "staging";
		Answer("IMPORTING", tx);
	}

	/** Whether tx is the open import; if not, why. */
	inline Fault Control::NotOpen(const std::string& tx) const
	{
		if (hub.import && hub.import->tx == tx)
			return hub.exporttx.empty() ? Fault() : Fault("busy", "the world stands still");
		const std::string dest = Look(tx).dest;
		if (dest == "unknown")
			return Fault("unknown-tx", "never imported here");
		return dest == "aborted" ? Fault("aborted", "aborted, or its lease is over") : Fault("state", "the tx is at its end here");
	}

	inline void Control::Prepare(const Line& line)
	{
		const std::string tx = line.Get("tx");
		Fault fault = NotOpen(tx);
		if (!fault && (hub.import->owner != this || Look(tx).dest != "staging"))
			fault = Fault("state", "PREPARE once, on the connection of the IMPORT");
		if (fault)
			return Error(fault, tx);
		fault = hub.import->End(line);
		if (fault)
		{
			hub.Abort();
			return Error(fault, tx);
		}
		const uint64_t begin = Now();
		Destination& dest = hub.import->dest;
		dest.Prepare(hub.network);
		Note("Prepared", tx, hub.import->users.size(), begin);
		hub.world.transactions.Note(tx).dest = "prepared";
		for (size_t i = 0; i < dest.warns.size(); ++i)
			Send(dest.warns[i].Message("WARN", tx));
		for (size_t i = 0; i < dest.conflicts.size(); ++i)
			Send(dest.conflicts[i].Message("CONFLICT", tx));
		Send(Line("PREPARED").Add("tx", tx).Add("users", hub.import->users.size()).Add("warns", dest.warns.size())
			.Add("conflicts", dest.conflicts.size()));
	}

	inline void Control::Commit(const Line& line)
	{
		const std::string tx = line.Get("tx");
		const bool missing = line.Get("missing") == "quit", quiet = line.Has("quiet");
		if (quiet && !missing)
			return Error(Fault("bad-value", "COMMIT quiet: not without missing=quit"), tx);
		if (Look(tx).dest == "committed")
			return Committed(tx, quiet);
		Fault fault = NotOpen(tx);
		if (!fault && Look(tx).dest != "prepared")
			fault = Fault("state", "COMMIT before PREPARE");
		if (!fault && !hub.import->dest.conflicts.empty())
			fault = Fault("conflict", "PREPARED told conflicts");
		if (!fault)
			fault = Attached(missing);
		if (!fault)
			fault = hub.import->dest.Late();
		if (fault)
			return Error(fault, tx);

		const uint64_t begin = Now();
		std::map<std::string, int> fds;
		const std::set<std::string>& users = hub.import->users;
		Transaction& t = hub.world.transactions.Note(tx);
		t.asked = missing;
		for (const std::string& u : users)
		{
			const auto a = hub.import->attached.find(u);
			const bool there = !missing || (a != hub.import->attached.end() && a->second->Alive());
			fds[u] = there ? a->second->Release() : -1; // who has none quits, once all others are live
			if (!there)
				t.missing.push_back(u);
			else if (!quiet)
				StreamSock::Say(fds[u], Line("LIVE").Add("u", u)); // a failure shows at the user's first read
		}
		t.users = users.size() - t.missing.size();
		hub.import->dest.Commit(hub.network, tx, fds, [&] {
			hub.home.Back("the users are back"); // a process after one that ends from here on awaits nobody: who hears COMMITTED brings nobody back
			Committed(tx, quiet);
			Flush();
		});
		hub.Abort(); // streams that no record names
		t.dest = "committed";
		Note("Committed", tx, t.users, begin);
	}

	inline void Control::Committed(const std::string& tx, bool quiet)
	{
		const Transaction t = Look(tx);
		for (size_t i = 0; i < t.missing.size() && quiet; ++i)
			Send(Line("MISSING").Add("tx", tx).Add("u", t.missing[i]));
		Line m("COMMITTED");
		m.Add("tx", tx).Add("users", t.users);
		Send(t.asked ? m.Add("missing", t.missing.size()) : m);
	}

	/** Whether all users have their streams. missing: it is no fault if one has none. */
	inline Fault Control::Attached(bool missing) const
	{
		if (missing)
			return Fault();
		const std::set<std::string>& users = hub.import->users;
		for (std::set<std::string>::const_iterator u = users.begin(); u != users.end(); ++u)
		{
			std::map<std::string, StreamSock*>::const_iterator a = hub.import->attached.find(*u);
			if (a == hub.import->attached.end() || !a->second->Alive())
				return Fault("not-attached", "no stream, or one that ended or spoke before LIVE", *u);
		}
		return Fault();
	}

	inline void Control::Abort(const Line& line)
	{
		const std::string tx = line.Get("tx");
		if (hub.import && hub.import->tx == tx)
			hub.Abort();
		else if (Look(tx).dest == "committed")
			return Error(Fault("committed", "the users are live here"), tx);
		hub.home.Aborted(tx);
		Answer("ABORTED", tx);
	}
}
