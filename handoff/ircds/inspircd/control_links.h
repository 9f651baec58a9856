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


// What a coordinator that holds server links asks (HANDOFF.md, section 14).

#pragma once

namespace Handoff
{
	inline Line& Control::AddLinks(Line& hello)
	{
		std::string linked, services;
		for (const ServerFacts& s : hub.network.Servers())
		{
			if (!s.Direct())
				continue;
			linked.append(linked.empty() ? "" : " ").append(s.name);
			if (s.server && IsService(s.server))
				services.append(services.empty() ? "" : " ").append(s.name);
		}
		return hello.Set("linked", linked).Set("ulined", services).Add("linkcaps", LinkCaps());
	}

	/** A word for all that servers compare, or agree on, when they link. */
	inline std::string Control::LinkCaps()
	{
		std::string text = ServerInstance->Config->CaseMapping + " " + LinkLimits();
		for (const std::string& mod : LinkedModules())
			text.append(" ").append(mod);
		std::set<std::string> words;
		for (int type = MODETYPE_USER; type <= MODETYPE_CHANNEL; ++type)
			for (const auto& entry : ServerInstance->Modes.GetModes(static_cast<ModeType>(type)))
			{
				ModeHandler* const mh = entry.second;
				const PrefixMode* const pm = mh->IsPrefixMode();
				words.insert(ConvToStr(type) + mh->name + "=" + mh->GetModeChar() + (mh->NeedsParam(true) ? "+" : "") + (mh->NeedsParam(false) ? "-" : "")
					+ (mh->IsListMode() ? "*" : "") + (pm ? ConvToStr(pm->GetPrefixRank()) + pm->GetPrefix() : ""));
			}
		for (const std::string& token : ISupportTokens())
			if (!token.compare(0, 7, "EXTBAN="))
				words.insert(token);
		for (const std::string& word : words)
			text.append(" ").append(word);
		return Proof("linkcaps", text).substr(0, 32);
	}

	/** Tells the lines by which a peer would introduce itself now, and lets one connection in for it. They have its password. */
	inline void Control::Greet(const Line& line)
	{
		const std::string& tx = line.Get("tx");
		const std::string& name = line.Get("link");
		const std::string& sid = line.Get("sid");
		uint64_t proto;
		Fault fault = NotOpen(tx);
		if (!fault && (!hub.import->links || Look(tx).dest != "staging"))
			fault = Fault("state", "GREET before PREPARE of an import with links");
		if (!fault && (!IsWord(name) || !InspIRCd::IsSID(sid) || !ToNumber(line.Get("proto"), proto) || !SpeaksProtocol(proto)))
			fault = Fault("bad-value", "GREET: no name, no id, or a protocol that is not spoken here");
		const std::string pass = fault ? std::string() : LinkPassword(name);
		if (!fault && pass.empty())
			fault = Fault("unknown-link", "no <link> is for " + name);
		if (!fault && hub.network.Has(name, sid))
			fault = Fault("linked", "a server of that name or id is linked");
		if (fault)
			return Error(fault, tx);
		hub.home.Permit();
		const std::string number = ConvToStr(proto);
		const std::string open = "CAPAB START " + number + "\nCAPAB CAPABILITIES :PROTOCOL=" + number + " CASEMAPPING=" + ServerInstance->Config->CaseMapping
			+ "\nCAPAB END\nSERVER " + name + " " + pass + (TellsHops(proto) ? " 0 " : " ") + sid + " :" + name
			+ "\nBURST " + ConvToStr(ServerInstance->Time()) + "\n";
		Send(Line("GREETING").Add("tx", tx).Add("link", name).Add("open", open).Add("close", ":" + sid + " ENDBURST\n"));
	}
}
