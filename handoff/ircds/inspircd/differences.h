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


// What is not as it was, told to peers who still know it as it was.

#pragma once

namespace Handoff
{
	/** Tells the network of a user's modes, host, ident and real name that his record has and he has not. */
	inline void TellUser(Module* tree, LocalUser* user, const Line& r)
	{
		Modes::ChangeList gone;
		for (const Field& f : r.fields)
		{
			ModeHandler* const mh = IsModeKey(f.key) ? ModeOfKey(MODETYPE_USER, f.key) : nullptr;
			if (mh && !user->IsModeSet(mh))
				gone.push_remove(mh);
		}
		static const char* const implied[][2] = { { "oper", "oper" }, { "snomask", "snomask" } };
		for (const auto& [key, mode] : implied)
		{
			ModeHandler* const mh = ServerInstance->Modes.FindMode(mode, MODETYPE_USER);
			if (mh && !r.Get(key).empty() && !user->IsModeSet(mh))
				gone.push_remove(mh);
		}
		if (!gone.empty())
			tree->OnMode(ServerInstance->FakeClient, user, nullptr, gone, ModeParser::MODE_NONE);
		if (!r.Get("dhost").empty() && user->GetDisplayedHost() != r.Get("dhost"))
			TellHost(tree, user);
		if (!r.Get("ident").empty() && Ident(user) != r.Get("ident"))
			TellIdent(tree, user);
		if (user->GetRealName() != r.Get("real"))
			tree->OnChangeRealName(user, user->GetRealName());
	}

	/** Tells the network of status that a member's record has and he has not. */
	inline void TellMember(Module* tree, Membership* memb, const Line& r)
	{
		Modes::ChangeList gone;
		const auto look = [&](PrefixMode* pm) {
			if (pm && !memb->HasMode(pm))
				gone.push_remove(pm, memb->user->nick);
		};
		for (const char letter : r.Get("m"))
			look(StandardPrefix(letter));
		irc::spacesepstream own(r.Get(OwnKey + "prefixes"));
		for (std::string name; own.GetToken(name); )
			look(NamedPrefix(name));
		if (!gone.empty())
			tree->OnMode(ServerInstance->FakeClient, nullptr, memb->chan, gone, ModeParser::MODE_NONE);
	}

	/** Tells the network of a user of this process whom its peers cannot know: he came before they were back. */
	inline void TellNewcomer(Module* tree, LocalUser* user)
	{
		CUList nobody;
		tree->OnUserConnect(user);
		for (User::ChanList::iterator i = user->chans.begin(); i != user->chans.end(); ++i)
			tree->OnUserJoin(*i, false, (*i)->chan->GetUsers().size() == 1, nobody);
	}
}
