/*
 * m_handoff: HANDOFF/1 for InspIRCd 3, so that a proxy can move live users between two processes.
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


// Bans with an end (TBAN). m_timedbans keeps the ends where nobody can read or write them: they are noted as they are set, and those of
// bans that came with an import are kept here.

#pragma once

namespace Handoff
{
	class TimedBans : public ModeWatcher
	{
		struct End
		{
			time_t at;
			bool ours; // to take off
		};
		typedef std::map<std::string, End> Ends; // by mask
		std::map<std::string, Ends> bans;        // by channel

		static ModeHandler* Ban() { return ServerInstance->Modes->FindMode("ban", MODETYPE_CHANNEL); }

	 public:
		TimedBans(Module* mod) : ModeWatcher(mod, "ban", MODETYPE_CHANNEL) { }

		/** The record's key of the end. */
		static const std::string& Key()
		{
			static const std::string key = OwnKey + "until";
			return key;
		}

		/** A TBAN has been carried out: its ban is the last one of the list. */
		void Learn(const CommandBase::Params& params)
		{
			unsigned long duration;
			Channel* const chan = params.size() < 3 ? NULL : ServerInstance->FindChan(params[0]);
			ListModeBase* const mode = Ban() ? Ban()->IsListModeBase() : NULL;
			const ListModeBase::ModeList* const list = chan && mode ? mode->GetList(chan) : NULL;
			if (!list || list->empty() || !InspIRCd::Duration(params[1], duration))
				return;
			const End end = { ServerInstance->Time() + static_cast<time_t>(duration), false };
			bans[chan->name][list->back().mask] = end;
		}

		/** When a ban ends; 0: never, or nobody knows. */
		time_t Of(const Channel* chan, const std::string& mask) const
		{
			std::map<std::string, Ends>::const_iterator b = bans.find(chan->name);
			if (b == bans.end())
				return 0;
			Ends::const_iterator e = b->second.find(mask);
			return e == b->second.end() ? 0 : e->second.at;
		}

		/** The end of a ban that was imported. */
		void Keep(const Channel* chan, const std::string& mask, time_t at)
		{
			const End end = { at, true };
			bans[chan->name][mask] = end;
		}

		/** Takes off what is at its end, as the server. */
		void Sweep()
		{
			std::vector<std::pair<std::string, std::string> > over;
			for (std::map<std::string, Ends>::const_iterator b = bans.begin(); b != bans.end(); ++b)
				for (Ends::const_iterator e = b->second.begin(); e != b->second.end(); ++e)
					if (e->second.ours && ServerInstance->Time() > e->second.at)
						over.push_back(std::make_pair(b->first, e->first));
			for (size_t i = 0; i < over.size(); ++i)
			{
				Channel* const chan = ServerInstance->FindChan(over[i].first);
				bans[over[i].first].erase(over[i].second);
				if (!chan || !Ban())
					continue;
				Modes::ChangeList change;
				change.push_remove(Ban(), over[i].second);
				ServerInstance->Modes->Process(ServerInstance->FakeClient, chan, NULL, change);
			}
		}

		void Forget(const Channel* chan) { bans.erase(chan->name); }

		void AfterMode(User*, User*, Channel* chan, const std::string& mask, bool adding) CXX11_OVERRIDE
		{
			std::map<std::string, Ends>::iterator b = bans.find(chan->name);
			if (!adding && b != bans.end())
				b->second.erase(mask);
		}
	};
}
