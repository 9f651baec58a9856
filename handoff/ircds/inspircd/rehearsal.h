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


// Channels that are built at PREPARE to see what this ircd makes of their records, and thrown away at once.

#pragma once

namespace Handoff
{
	class Rehearsal
	{
		std::map<std::string, Channel*> channels;

	 public:
		~Rehearsal()
		{
			for (std::map<std::string, Channel*>::iterator i = channels.begin(); i != channels.end(); ++i)
				ServerInstance->GlobalCulls.AddItem(i->second);
		}

		/** A channel like that of the record. Nobody finds it: it has the name for the time of its making only. */
		Channel* Of(const std::string& name)
		{
			Channel*& chan = channels[name];
			if (!chan)
			{
				static const std::string nowhere(" handoff"); // no client can make a channel of this name
				chan = new Channel(nowhere, ServerInstance->Time());
				AllChannels().erase(nowhere);
			}
			return chan;
		}

		/** What becomes of a mode's parameter; empty: the mode is not taken. */
		std::string Parameter(const std::string& name, ModeHandler* mh, std::string param)
		{
			Channel* const chan = Of(name);
			if (!ChangeMode(mh, nullptr, chan, param, true) || !chan->IsModeSet(mh))
				return std::string();
			return chan->GetModeParameter(mh);
		}

		/** What becomes of a list entry's mask; empty: the list does not take it. */
		std::string Mask(const Line& r) { return AddEntry(Of(r.Get("c")), r); }
	};
}
