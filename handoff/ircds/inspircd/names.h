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


// What the names of a record mean in this ircd's own configuration.

#pragma once

namespace Handoff
{
	/** A number that is announced in 005; without it the largest one. */
	inline size_t ISupportNumber(const std::string& token)
	{
		for (const std::string& t : ISupportTokens())
			if (!t.compare(0, token.length() + 1, token + "="))
				return ConvToNum<size_t>(t.substr(token.length() + 1));
		return static_cast<size_t>(-1);
	}

	/** Words of a list, each of so many words. */
	inline size_t Entries(const std::string& list, size_t words)
	{
		irc::spacesepstream stream(list);
		size_t n = 0;
		for (std::string word; stream.GetToken(word); )
			n++;
		return n / words;
	}

	inline PrefixMode* NamedPrefix(const std::string& name)
	{
		ModeHandler* const mh = ServerInstance->Modes.FindMode(name, MODETYPE_CHANNEL);
		return mh ? mh->IsPrefixMode() : nullptr;
	}

	inline PrefixMode* StandardPrefix(char letter)
	{
		for (const PrefixName* p = PrefixNames; p->letter; ++p)
			if (p->letter == letter)
				return NamedPrefix(p->inspircd);
		return nullptr;
	}

	inline ClassRef ClassNamed(const std::string& name)
	{
		for (const auto& c : ServerInstance->Config->Classes)
			if (!Denies(*c) && c->name == name)
				return c;
		return ClassRef();
	}

	inline ClassRef AnyClass()
	{
		for (const auto& c : ServerInstance->Config->Classes)
			if (Allows(*c))
				return c;
		return ClassRef();
	}

	inline Cap::Capability* CapNamed(const std::string& word)
	{
		Cap::Manager* const manager = ServerInstance->Modules.FindDataService<Cap::Manager>("capmanager");
		return manager ? manager->Find(word.substr(0, word.find('='))) : nullptr;
	}
}
