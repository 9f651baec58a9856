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


// Bans with an end (TBAN). m_timedbans keeps the ends where nobody can read or write them: they are noted as they are set, and those of
// bans that came with an import are kept here.

#pragma once

namespace Handoff
{
	/** When a ban ends. */
	struct BanEnd
	{
		time_t at;
		bool ours; // to take off
	};

	/** The ends of a channel's bans, by mask. As an extension item they outlive a reload of the module. */
	class BanEnds : public Item<std::map<std::string, BanEnd>>
	{
	 public:
		typedef std::map<std::string, BanEnd> Ends;
		std::set<Channel*> channels; // that have some

		BanEnds(Module* mod) : Item<Ends>(mod, "handoff_bans", OfChannel) { }

		/** Those of a channel, for a change. */
		Ends& Of(Channel* chan)
		{
			if (!Get(chan))
				Set(chan, Ends());
			channels.insert(chan);
			return *Get(chan);
		}

		void Forget(Channel* chan)
		{
			channels.erase(chan);
			Unset(chan);
		}

		// For a module's reload only: a record has these facts in keys of their own.
		std::string Text(const Extensible*, Ends& ends) const override
		{
			std::string text;
			for (Ends::const_iterator e = ends.begin(); e != ends.end(); ++e)
				text.append(e->first).append(" ").append(ConvToStr(e->second.at)).append(e->second.ours ? " 1 " : " 0 ");
			return text;
		}

		void Read(Extensible* container, const std::string& value) override
		{
			irc::spacesepstream words(value);
			std::string mask, ours;
			for (BanEnd end; words.GetToken(mask) && words.GetNumericToken(end.at) && words.GetToken(ours); )
			{
				end.ours = (ours == "1");
				Of(static_cast<Channel*>(container))[mask] = end;
			}
		}
	};

	class TimedBans : public Watcher
	{
		BanEnds ends;

		static ModeHandler* Ban() { return ServerInstance->Modes.FindMode("ban", MODETYPE_CHANNEL); }

	 public:
		TimedBans(Module* mod) : Watcher(mod, "ban"), ends(mod) { }

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
			Channel* const chan = params.size() < 3 ? nullptr : ChannelNamed(params[0]);
			ListModeBase* const mode = Ban() ? Ban()->IsListModeBase() : nullptr;
			const ListModeBase::ModeList* const list = chan && mode ? mode->GetList(chan) : nullptr;
			if (!list || list->empty() || !ToDuration(params[1], duration))
				return;
			const BanEnd end = { ServerInstance->Time() + static_cast<time_t>(duration), false };
			ends.Of(chan)[list->back().mask] = end;
		}

		/** When a ban ends; 0: never, or nobody knows. */
		time_t Of(const Channel* chan, const std::string& mask) const
		{
			const BanEnds::Ends* const known = ends.Get(chan);
			if (!known)
				return 0;
			BanEnds::Ends::const_iterator e = known->find(mask);
			return e == known->end() ? 0 : e->second.at;
		}

		/** Keeps the end of a ban that was imported. */
		void Keep(Channel* chan, const std::string& mask, time_t at)
		{
			const BanEnd end = { at, true };
			ends.Of(chan)[mask] = end;
		}

		/** Takes off what is at its end, as the server. */
		void Sweep()
		{
			std::vector<std::pair<Channel*, std::string> > over;
			for (std::set<Channel*>::const_iterator c = ends.channels.begin(); c != ends.channels.end(); ++c)
				for (BanEnds::Ends::const_iterator e = ends.Get(*c)->begin(); e != ends.Get(*c)->end(); ++e)
					if (e->second.ours && ServerInstance->Time() > e->second.at)
						over.push_back(std::make_pair(*c, e->first));
			for (size_t i = 0; i < over.size(); ++i)
			{
				ends.Of(over[i].first).erase(over[i].second);
				Modes::ChangeList change;
				if (Ban())
					change.push_remove(Ban(), over[i].second);
				ServerInstance->Modes.Process(ServerInstance->FakeClient, over[i].first, nullptr, change);
			}
		}

		void Forget(Channel* chan) { ends.Forget(chan); }

		void TakenOff(Channel* chan, const std::string& mask) override
		{
			if (ends.Get(chan))
				ends.Get(chan)->erase(mask);
		}
	};
}
