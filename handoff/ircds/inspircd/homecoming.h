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


// What outlives a restart of this process: the ids that it has given, and that users are to come back to it. Until they are back servers that
// no coordinator holds are kept out, so that these meet users with their accounts, and not empty channels.

#pragma once

namespace Handoff
{
	/** The file and what follows from it. There is one. */
	class Homecoming
	{
		static const time_t Longest = 3600; // the longest lease: a release before that brings nobody back

		uint64_t until;        // servers are kept out until then; 0: they are not
		bool held;             // links are to come back too: nobody registers before
		bool importing;        // an import with links is open: servers are kept out too
		std::string tx;        // of the release that is not made up for
		unsigned int permits;  // connections that may come in all the same
		uint64_t permitsuntil;

		static std::string Path() { return ServerInstance->Config->Paths.PrependData("handoff.ids"); }

		static Module* Tree() { return ServerInstance->Modules.Find("m_spanningtree.so"); }

		/** Replaces the file; it is 0600, and has no secret. */
		static void Write(const Line& line)
		{
			const std::string path = Path(), fresh = path + ".new", text = line.Format();
			const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			bool written = fd >= 0 && write(fd, text.data(), text.length()) == static_cast<ssize_t>(text.length());
			written = (fd < 0 || close(fd) == 0) && written && rename(fresh.c_str(), path.c_str()) == 0;
			if (!written)
				WriteLog("Cannot write " + path + ": " + strerror(errno) + ". After a restart ids that were given may be given again");
		}

		static Line Read()
		{
			Line line;
			std::ifstream file(Path().c_str());
			std::string text;
			if (!std::getline(file, text))
				return Line();
			if (line.Parse(text) || line.verb != "RELEASED")
			{
				WriteLog("Cannot make sense of " + Path() + ": it is ignored");
				return Line();
			}
			return line;
		}

		static Line Ids() { return Line("RELEASED").Add("last", LastGivenID()); }

	 public:
		Homecoming() : until(0), held(false), importing(false), permits(0), permitsuntil(0) { }

		/** At the module's load, before anybody has connected if it is the process's start. wait: seconds. */
		void Begin(unsigned long wait)
		{
			const Line line = Read();
			PassID(line.Get("last"));
			tx = line.Get("tx");
			const time_t at = line.Num("at"), now = ServerInstance->Time();
			if (!wait || (!line.Num("users") && !line.Has("links")) || ServerInstance->startup_time < at || now - at > Longest)
				return;
			until = Now() + wait * 1000;
			held = line.Has("links");
			WriteLog("Users are to come back: servers that nobody holds have to wait, " + ConvToStr(wait) + " s at most");
			HoldConnects();
		}

		/** Users have left for a coordinator. links: those that it holds. */
		void Released(const std::string& of, size_t users, const std::string& links)
		{
			tx = of;
			Write(Ids().Add("tx", tx).Add("at", ServerInstance->Time()).Add("users", users).Set("links", links));
		}

		/** Nobody is awaited any more. */
		void Back(const char* why)
		{
			tx.clear();
			LetIn(why);
			Write(Ids());
		}

		/** The coordinator says that a transaction has come to nothing. */
		void Aborted(const std::string& of)
		{
			if (of == tx && !tx.empty())
				Back("those who left go elsewhere");
		}

		/** Nobody is kept out any more. */
		void LetIn(const char* why)
		{
			if (!until)
				return;
			until = 0;
			held = false;
			LetConnect();
			WriteLog(std::string("Servers are let in: ") + why);
		}

		/** Once a second. */
		void Sweep(uint64_t now)
		{
			if (until && now >= until)
				LetIn("the users have not come back in time");
			else if (until || importing)
				HoldConnects();
		}

		/** While links are replayed no other server comes in: what it says would be swallowed on these, and their peers would never hear of it. */
		void Importing(bool open)
		{
			importing = open;
			permits = 0;
			if (open)
				HoldConnects();
			else
				LetConnect();
		}

		/** Whether clients have to wait with their registration. */
		bool BarsUsers() const { return until && held; }

		/** Lets one server connect, for a link that a coordinator is about to replay. */
		void Permit()
		{
			permits++;
			permitsuntil = Now() + 10000;
		}

		/** Whether a connection to a listener for servers may come in. */
		bool MayConnect()
		{
			if (!until && !importing)
				return true;
			if (!permits || Now() >= permitsuntil)
			{
				permits = 0;
				return false;
			}
			permits--;
			return true;
		}

	 private:
		/** Keeps m_spanningtree from connecting to others by itself: it does so by its timer alone. */
		static void HoldConnects()
		{
			if (Module* const tree = Tree())
				ServerInstance->Modules.Detach(I_OnBackgroundTimer, tree);
		}

		void LetConnect() const
		{
			Module* const tree = Tree();
			if (tree && !until && !importing)
				ServerInstance->Modules.Attach(I_OnBackgroundTimer, tree);
		}
	};
}
